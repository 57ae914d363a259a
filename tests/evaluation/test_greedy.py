"""Holds the greedy selection against a brute-force one, and limits on members and latency."""

from functools import partial

import numpy as np
import pytest
from scipy.special import expit
from sklearn.metrics import average_precision_score, log_loss, roc_auc_score

from jamba_ray.evaluation.greedy import ROUNDS, greedy

_SKLEARN = {
    "average_precision": average_precision_score,
    "roc_auc": roc_auc_score,
    "log_loss": lambda y, p: -log_loss(y, p),
}


@pytest.fixture
def pool():
    rng = np.random.default_rng(3)
    labels = np.arange(400) < 120
    truth = np.where(labels, 0.8, -0.8) + rng.normal(0, 1, 400)
    return labels, truth + rng.normal(0, 1.5, (5, 400))


def brute_force(labels, log_odds, objective):
    """Caruana et al. (2004), figure 1, with scikit-learn's metrics and lists of members."""
    metric, bag, trajectory = _SKLEARN[objective], [], []
    for _ in range(ROUNDS):
        values = [
            metric(labels, expit(log_odds[[*bag, k]].mean(axis=0))) for k in range(len(log_odds))
        ]
        bag.append(int(np.argmax(values)))
        trajectory.append((max(values), list(bag)))
    best = max(range(ROUNDS), key=lambda i: (round(trajectory[i][0], 12), -i))
    members = trajectory[best][1]
    return np.bincount(members, minlength=len(log_odds)) / len(members)


@pytest.mark.parametrize("objective", sorted(_SKLEARN))
def test_equals_a_brute_force_greedy(pool, objective):
    labels, log_odds = pool
    found = greedy(labels, log_odds, objective, max_members=5)
    assert np.allclose(found, brute_force(labels, log_odds, objective))
    assert np.count_nonzero(found) > 1


def test_a_team_of_noisy_models_beats_each_of_them(pool):
    labels, log_odds = pool
    weights = greedy(labels, log_odds, "average_precision", max_members=5)
    alone = [average_precision_score(labels, one) for one in log_odds]
    assert average_precision_score(labels, weights @ log_odds) > max(alone)


def test_limits_hold(pool):
    labels, log_odds = pool
    choose = partial(greedy, labels, log_odds, "average_precision")
    assert np.count_nonzero(choose(2)) == 2
    latency = [1.0, 2.0, 3.0, 4.0, 5.0]
    weights = choose(5, latency, 6.0)
    assert sum(latency[i] for i in np.flatnonzero(weights)) <= 6.0
    # Nothing fits: the best single model is the answer.
    best = int(np.argmax([average_precision_score(labels, one) for one in log_odds]))
    assert choose(5, latency, 0.1)[best] == 1.0


def test_equal_models_are_one(pool):
    labels, log_odds = pool
    twins = np.stack([log_odds[0]] * 3)
    assert greedy(labels, twins, "average_precision", 3).tolist() == [1.0, 0.0, 0.0]
