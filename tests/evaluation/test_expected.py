"""Where a metric is expected on rows to come."""

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import average_precision_score

from jamba_ray.evaluation import expected as module
from jamba_ray.evaluation import intervals
from jamba_ray.evaluation.expected import ToCome, expected, unlike_share

AP = "average_precision"


def rows(n_threats, n_benign, seed, gap=1.5):
    rng = np.random.default_rng(seed)
    y = np.repeat([1, 0], [n_threats, n_benign])
    return y, norm.cdf(rng.normal(size=len(y)) + gap * y - 1.5)


def found(y, p, *, n=60, **to_come):
    return expected(y, p, AP, ToCome(**to_come), n)


def test_a_test_of_few_rows_moves_more_than_one_of_many():
    y, p = rows(100, 400, 0)
    own, few, many = (
        found(y, p, **sizes).interval
        for sizes in ({}, {"n_threats": 20, "n_benign": 80}, {"n_threats": 4000, "n_benign": 16000})
    )
    assert few["low"] < many["low"] <= own["low"] + 0.02
    assert few["high"] > many["high"] >= own["high"] - 0.02
    assert own["value"] == pytest.approx(average_precision_score(y, p))


def test_precision_falls_with_the_share_of_threats_to_come():
    y, p = rows(200, 400, 1)
    rare = found(y, p, n_threats=30, n_benign=3000).interval
    test, scores = rows(30, 3000, 2)
    assert rare["high"] < intervals(y, p)[AP]["low"]
    assert rare["low"] <= average_precision_score(test, scores) <= rare["high"]


def test_weights_count_rows_as_often_as_they_come():
    y, p = rows(300, 300, 3)
    hard = np.where(y == 1, p < np.median(p[y == 1]), True)
    weighted = found(y, p, weights=np.where(hard, 1.0, 0.25), n_threats=300, n_benign=300)
    assert weighted.interval["value"] < found(y, p).interval["value"] - 0.02
    assert weighted.interval["high"] >= found(y, p).interval["high"] - 0.02  # both are held
    assert 150 < weighted.effective < 300


def test_what_cannot_be_known_is_said():
    y, p = rows(100, 400, 4)
    few = np.full(len(y), 1e-6)
    few[:3] = few[-50:] = 1.0
    narrow = found(y, p, weights=few)
    assert narrow.interval is None
    assert narrow.effective == 3
    assert "only 3 of them" in narrow.reason
    assert found(y, p, unlike=0.51).interval is None
    assert "one class" in found(y * 0, p).reason
    assert unlike_share(0.4) == 0.0
    assert unlike_share(0.65) == pytest.approx(0.3)
    assert unlike_share(0.65, 0.9) == 0.9


def test_threats_unlike_all_before_lower_what_is_expected():
    y, p = rows(100, 400, 5)
    same, some = found(y, p).interval, found(y, p, unlike=0.3).interval
    assert some["low"] < same["low"] - 0.1
    assert some["high"] == same["high"]


def test_a_faultless_validation_promises_no_faultless_test():
    y, p = rows(200, 800, 6, gap=12.0)
    assert intervals(y, p)[AP]["low"] == 1.0
    assert 0.98 < found(y, p, n_threats=2000, n_benign=8000).interval["low"] < 0.999


def test_many_rows_are_drawn_from(monkeypatch):
    y, p = rows(500, 2000, 7)
    monkeypatch.setattr(module, "MOST_ROWS", 300)
    drawn = found(y, p, n_threats=500, n_benign=2000, weights=np.ones(len(y))).interval
    assert drawn["low"] < average_precision_score(y, p) < drawn["high"]


@pytest.mark.slow
@pytest.mark.parametrize(("sized", "at_least", "at_most"), [(True, 0.93, 1.0), (False, 0.0, 0.9)])
def test_it_holds_the_value_of_a_test(sized, at_least, at_most):
    """The second is the sabotage: an interval that does not know the test's size is too narrow."""
    held = 0
    for seed in range(200):
        y, p = rows(120, 480, [seed, 0])
        test, scores = rows(40, 160, [seed, 1])
        sizes = {"n_threats": 40, "n_benign": 160} if sized else {}
        one = found(y, p, n=200, **sizes).interval
        held += one["low"] <= average_precision_score(test, scores) <= one["high"]
    assert at_least <= held / 200 <= at_most
