"""Tests that a promise under a shift of the features holds, and that no other shift gets one."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from jamba_ray.data.adversary import tell_apart
from jamba_ray.data.to_come import drawn_by
from jamba_ray.evaluation.goal import Goal
from jamba_ray.evaluation.promise_of_run import promised_of, shift_of

LIMIT = 0.05


def rows(rng, n, shift=0.0, concept=0.0):
    """Returns features, labels and scores; ``shift`` moves the features, ``concept`` what they
    mean: rows that a model scores high become benign."""
    x = rng.normal(size=(n, 4)).astype(np.float32)
    x[:, 0] += shift
    y = rng.random(n) < expit(2.0 * x[:, 0] + x[:, 1] - 2.0 - concept * np.maximum(x[:, 0], 0))
    return x, y, expit(x[:, 0] + x[:, 1] - 1.0)


def promise_of(rng, *, shift, concept=0.0, n=3000, sabotaged=False):
    """Returns the threshold and the promise of a run whose test is shifted, as ``threshold`` does
    it: the weights know no labels of the test, of which 1,000 rows are then looked at."""
    x, _, _ = rows(rng, 2000)
    val, val_y, val_p = rows(rng, n)
    to_come, test_y, test_p = rows(rng, 2000, shift, concept)
    told = tell_apart(np.concatenate([to_come, x]), np.arange(4000) < 2000)
    drawn = drawn_by(to_come, x, val)
    found = drawn.to_json()
    if sabotaged:
        drawn = type(drawn)(np.ones(n, bool), n, 0.5, 0.5, None)
        found = drawn.to_json()
    parts = {
        "val": pd.DataFrame({"label": val_y, "probability": val_p, "drawn": drawn.rows}),
    }
    if not sabotaged:
        parts["test"] = pd.DataFrame({"label": test_y, "probability": test_p})[:1000]
    auc = {"value": told.auc, "low": told.low}
    summary = {
        "data": {"shift": {"to_come": {"part": "test", "roc_auc": auc}}},
        "to_come": {"rows": "test", "parts": {"val": found}},
    }
    return promised_of(parts, "val", summary, Goal("max_fpr", LIMIT), 0.95)


def shares(n_draws, seed=0, **how):
    """Returns the shares of draws with a promise, and of those with one that does not hold."""
    rng = np.random.default_rng(seed)
    _, y, p = rows(rng, 200_000, how["shift"], how.get("concept", 0.0))
    benign = np.sort(p[~y])
    made, broken = 0, 0
    for _ in range(n_draws):
        cut, promise = promise_of(rng, **how)
        if promise.reason is None:
            made += 1
            broken += 1.0 - np.searchsorted(benign, cut) / len(benign) > LIMIT
    return made / n_draws, broken / max(1, n_draws)


def test_a_promise_of_drawn_rows_says_on_what_it_rests():
    cut, promise = promise_of(np.random.default_rng(0), shift=0.7)
    assert promise.reason is None, promise.sentence
    assert "importance weights" in promise.sentence
    assert "effective rows" in promise.sentence
    assert 0.0 < cut < 1.0


def test_a_strong_shift_cannot_be_known():
    _, promise = promise_of(np.random.default_rng(0), shift=4.0)
    assert promise.reason is not None
    assert "cannot be known" in promise.sentence


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_bound_by_weights_holds_in_95_percent_of_200_draws_with_a_shift_of_the_features():
    made, broken = shares(200, shift=0.7)
    assert made > 0.5
    assert broken <= 0.05
    # Without the weights, and without a look at the test's labels, it is broken.
    _, broken = shares(20, shift=0.7, sabotaged=True)
    assert broken > 0.5


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("how", [{"shift": 4.0}, {"shift": 0.7, "concept": 2.5}])
def test_a_strong_shift_and_one_of_what_features_mean_get_no_promise_in_95_percent(how):
    made, _ = shares(200, **how)
    assert made <= 0.05


def test_the_shift_of_a_split_by_time_is_that_of_the_test_against_validation():
    told = {"roc_auc": 0.7, "low": 0.66}
    summary = {"data": {"split": {"kind": "time"}}, "best": {"expected": {"shift": told}}}
    assert shift_of(summary) == (0.7, 0.66)
    summary["data"]["split"]["kind"] = "group"
    assert shift_of(summary) is None
    assert shift_of({}) is None
