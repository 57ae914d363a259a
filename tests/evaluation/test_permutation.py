from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit

from jamba_ray.evaluation import permutation, value_of
from jamba_ray.evaluation.permutation import correlated_groups, permutation_importance

STRENGTH = (3.0, 1.5, 0.6, 0.0, 0.0)


def rows_of(n, seed=0, shift=-1.0):
    """Five numbers of which three make the labels, and one category that is a driver."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 5)).astype(np.float32)
    codes = rng.integers(1, 3, size=(n, 1))
    p = expit(x @ np.array(STRENGTH) + 2.0 * (codes[:, 0] == 2) + shift)
    return x, codes, (rng.random(n) < p).astype(np.float32)


def score(x, codes):
    # The last two columns get weights as an overfitted model gives them to noise.
    return expit(x @ np.array([3.0, 1.5, 0.6, 0.05, 0.0]) + 2.0 * (codes[:, 0] == 2) - 1.0)


OWNERS = [*(([j], []) for j in range(5)), ([], [0])]


@pytest.mark.parametrize("metric", ["average_precision", "roc_auc", "log_loss", "f1"])
def test_the_drivers_come_in_their_order_and_an_unused_column_has_none(metric):
    found = permutation_importance(score, *rows_of(4000), OWNERS, metric, 0.5)
    by_column = dict(found.groups)
    order = [columns[0] for columns, _ in found.groups if columns[0] in {0, 1, 2}]
    assert order == [0, 1, 2]
    assert found.rows == permutation.MOST_ROWS
    assert by_column[(4,)] == {"value": 0.0, "low": 0.0, "high": 0.0}
    for driver in ((0,), (1,), (5,)):
        assert by_column[driver]["low"] > 0.0
    again = permutation_importance(score, *rows_of(4000), OWNERS, metric, 0.5)
    assert again == found


def test_a_team_takes_as_long_as_one_model():
    """Each of its rows is scored by all members."""
    of = [
        permutation_importance(score, *rows_of(4000), OWNERS, "roc_auc", 0.5, n_models).rows
        for n_models in (1, 2, 8)
    ]
    assert of == [2000, 1000, 500]


def test_a_column_that_is_not_exchanged_has_no_importance():
    """The sabotage twin: the features of the driver belong to no column."""
    owners = [([], []), *OWNERS[1:]]
    found = permutation_importance(
        score, *rows_of(1000), [([4], []), *owners[1:]], "average_precision", 0.5
    )
    assert all(0 not in columns or drop["high"] <= 0.01 for columns, drop in found.groups)


def test_intervals_hold_0_for_a_null_column_that_the_model_uses_a_little():
    """A 95 % interval may miss in one data set, so this counts over 40 (``explain.md``: 98 %)."""
    held = 0
    for seed in range(40):
        rows = rows_of(400, seed)
        found = permutation_importance(score, *rows, [([3], [])], "roc_auc", 0.5)
        drop = found.groups[0][1]
        assert drop["low"] < drop["high"]
        held += drop["low"] <= 0.0 <= drop["high"]
    assert held >= 36


def test_rare_threats_are_kept_and_weighted_back():
    x, codes, y = rows_of(60_000, shift=-11.0)
    assert 0 < y.sum() < 1000
    whole = permutation_importance(score, x, codes, y, OWNERS, "average_precision", 0.5)
    assert whole.value == pytest.approx(value_of("average_precision", y, score(x, codes)), abs=0.05)


def test_copies_are_exchanged_together_and_do_not_hide_each_other():
    x, codes, y = rows_of(3000)
    noise = np.random.default_rng(1).normal(size=3000) * 0.1
    x[:, 4] = x[:, 0] * 2 + noise

    def both(numbers, cats):
        return expit(1.5 * numbers[:, 0] + 0.75 * numbers[:, 4] + 1.5 * numbers[:, 1] - 1.0)

    assert sorted(correlated_groups(x, codes, OWNERS)) == [(0, 4), (1,), (2,), (3,), (5,)]
    found = permutation_importance(both, x, codes, y, OWNERS, "roc_auc", 0.5)
    assert found.groups[0][0] == (0, 4)


def test_constant_columns_and_one_column_make_groups_of_their_own():
    x = np.zeros((50, 2), dtype=np.float32)
    codes = np.zeros((50, 0), dtype=np.int64)
    assert sorted(correlated_groups(x, codes, [([0], []), ([1], [])])) == [(0,), (1,)]
    assert correlated_groups(x, codes, [([0, 1], [])]) == [(0,)]


def test_rows_of_one_class_and_very_many_columns_give_nothing(monkeypatch):
    x, codes, y = rows_of(300)
    assert permutation_importance(score, x, codes, 0 * y, OWNERS, "roc_auc", 0.5) is None
    monkeypatch.setattr(permutation, "_MOST_GROUPS", 3)
    assert permutation_importance(score, x, codes, y, OWNERS, "roc_auc", 0.5) is None
