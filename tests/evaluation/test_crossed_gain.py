"""Tests that a gain is judged on rows that did not choose the team."""

from functools import partial

import numpy as np
import pytest
from scipy.special import expit

from jamba_ray.evaluation import crossed_gain as module
from jamba_ray.evaluation.counts import blocks
from jamba_ray.evaluation.crossed_gain import (
    by_content,
    by_group,
    by_time,
    crossed_gain,
    few_rows,
)
from jamba_ray.evaluation.greedy import greedy
from jamba_ray.evaluation.objective import objective_of

_CHOOSE = partial(greedy, objective="average_precision", max_members=8)


def noise(seed, n=300, k=6):
    """Returns labels, and scores that know nothing of them, the best on these rows first."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(n) < n // 4
    log_odds = rng.normal(size=(k, n))
    values = [objective_of(blocks(labels, expit(one))[0], "average_precision") for one in log_odds]
    log_odds = log_odds[np.argsort(values)[::-1]]
    halves = by_content(labels, rng.integers(0, 256, (n, 8)).astype(np.uint8))
    return labels, log_odds, halves


def accepted(seed, choose=None):
    labels, log_odds, halves = noise(seed)
    found = crossed_gain(
        labels, log_odds, 0, halves, choose or _CHOOSE, "average_precision", seed=seed
    )
    return found["low"] > 0.0, found["value"] > 0.0


def shares(seeds, *, sabotaged):
    """Returns the shares of seeds with a certain gain, and with any gain."""
    found = []
    for seed in seeds:
        weights = _CHOOSE(*noise(seed)[:2])  # chosen on the rows that judge it
        found.append(accepted(seed, (lambda *_, w=weights: w) if sabotaged else None))
    return np.mean(found, axis=0)


def test_noise_gains_nothing(monkeypatch):
    monkeypatch.setattr(module, "n_resamples", lambda n: 100)
    certain, _ = shares(range(8), sabotaged=False)
    assert certain == 0.0
    _, any_gain = shares(range(8), sabotaged=True)
    assert any_gain > 0.5


@pytest.mark.slow
def test_noise_is_accepted_in_at_most_one_of_twenty_seeds(monkeypatch):
    monkeypatch.setattr(module, "n_resamples", lambda n: 200)
    certain, _ = shares(range(200), sabotaged=False)
    assert certain <= 0.05
    # The sabotage twin: chosen and judged on the same rows, noise shows a gain nearly always.
    _, any_gain = shares(range(200), sabotaged=True)
    assert any_gain > 0.5


def test_a_real_gain_is_seen():
    rng = np.random.default_rng(0)
    labels = np.arange(2000) < 600
    truth = np.where(labels, 1.0, -1.0) + rng.normal(0, 1, 2000)
    log_odds = truth + rng.normal(0, 1.5, (5, 2000))
    halves = by_content(labels, rng.integers(0, 256, (2000, 8)).astype(np.uint8))
    for objective in ("average_precision", "f1", "log_loss"):
        choose = partial(greedy, objective=objective, max_members=8)
        found = crossed_gain(labels, log_odds, 0, halves, choose, objective)
        assert 0.0 < found["low"] < found["value"] < found["high"]
        assert found["excludes_zero"]


def test_the_single_model_alone_gains_exactly_nothing():
    labels, log_odds, halves = noise(0)
    alone = lambda *_: np.eye(len(log_odds))[0]  # noqa: E731
    found = crossed_gain(labels, log_odds, 0, halves, alone, "average_precision")
    assert (found["value"], found["low"], found["high"]) == (0.0, 0.0, 0.0)


def test_what_belongs_together_is_in_one_half():
    rng = np.random.default_rng(1)
    labels = rng.random(400) < 0.3
    content = rng.integers(0, 60, (400, 1)).astype(np.uint8)
    second = by_content(labels, content).second
    for label in (False, True):
        for value in np.unique(content):
            assert len(set(second[(labels == label) & (content[:, 0] == value)])) <= 1
        assert 0.3 < second[labels == label].mean() < 0.7
    time = np.sort(rng.integers(0, 50, 400))
    second = by_time(labels, time).second
    for label in (False, True):
        own = labels == label
        assert time[own & second].min() > time[own & ~second].max()
    group = rng.integers(0, 40, 400).astype(str)
    halves = by_group(labels, group)
    for name in np.unique(group):
        assert len(set(halves.second[group == name])) == 1
        assert len(set(halves.unit[group == name])) == 1
    for label in (False, True):
        assert 0.3 < halves.second[labels == label].mean() < 0.7


def test_a_label_in_one_group_is_divided_by_rows():
    labels = np.arange(400) < 200
    group = np.where(labels, (np.arange(400) % 20).astype(str), "benign")
    halves = by_group(labels, group)
    assert halves.second[~labels].mean() == 0.5
    assert len(np.unique(halves.unit[~labels])) == 200
    assert len(np.unique(halves.unit[labels])) == 20


def test_groups_widen_the_interval():
    rng = np.random.default_rng(2)
    n, n_groups = 1000, 40
    labels = np.arange(n) < n // 2
    group = np.where(labels, np.arange(n) % n_groups, n_groups + np.arange(n) % n_groups)
    effect = rng.normal(0, 2, (2, 2 * n_groups))[:, group]
    log_odds = np.where(labels, 1.0, -1.0) + effect + rng.normal(0, 0.3, (2, n))
    mean = lambda *_: np.array([0.5, 0.5])  # noqa: E731
    halves = by_group(labels, group.astype(str))
    clustered = crossed_gain(labels, log_odds, 0, halves, mean, "roc_auc")
    by_row = module.Halves(halves.second, np.arange(n))
    rows = crossed_gain(labels, log_odds, 0, by_row, mean, "roc_auc")
    assert clustered["high"] - clustered["low"] > 2 * (rows["high"] - rows["low"])


def test_too_few_rows_are_said():
    labels = np.arange(100) < 15
    halves = module.Halves(np.arange(100) % 2 == 1, np.arange(100))
    assert "only 7 threats" in (few_rows(labels, halves) or "")
    assert few_rows(np.arange(100) < 50, halves) is None
