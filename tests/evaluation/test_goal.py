from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jamba_ray.errors import DataError, TrialError
from jamba_ray.evaluation.goal import Goal, operating_point, threshold_for

ROWS = st.lists(
    # Few distinct scores, so that many rows share the one at the threshold.
    st.tuples(st.integers(0, 1), st.integers(0, 6).map(lambda i: i / 6)),
    min_size=2,
    max_size=60,
).filter(lambda rows: len({y for y, _ in rows}) == 2)
SHARES = st.floats(0.001, 1.0)


def arrays(rows):
    return np.array([y for y, _ in rows]), np.array([p for _, p in rows])


@given(ROWS, SHARES)
def test_the_realised_rate_never_exceeds_what_was_asked_for_also_with_ties(rows, limit):
    y, p = arrays(rows)
    flags = lambda t: operating_point(y, p, t)  # noqa: E731
    try:
        found = flags(threshold_for(y, p, Goal("max_fpr", limit)))
    except DataError:  # flagging the highest score alone is too much already
        assert flags(p.max())["fpr"]["value"] > limit
        return
    assert found["fpr"]["value"] <= limit * (1 + 1e-9)
    for lower in np.unique(p):  # and no threshold within the limit finds more
        other = flags(lower)
        assert other["fpr"]["value"] > limit * (1 - 1e-9) or other["found"] <= found["found"]


@given(ROWS, SHARES)
def test_recall_and_precision_are_at_least_what_was_asked_for(rows, wanted):
    y, p = arrays(rows)
    found = operating_point(y, p, threshold_for(y, p, Goal("min_recall", wanted)))
    assert found["recall"]["value"] >= wanted * (1 - 1e-9)
    for higher in np.unique(p):
        other = operating_point(y, p, higher)
        assert other["recall"]["value"] < wanted * (1 + 1e-9) or other["alerts"] >= found["alerts"]
    try:
        cut = threshold_for(y, p, Goal("min_precision", wanted))
    except DataError:
        return
    assert operating_point(y, p, cut)["precision"]["value"] >= wanted * (1 - 1e-9)


def test_alerts_count_what_is_found_and_what_is_false_at_the_share_of_threats_to_come():
    y = np.repeat([1, 0], 100)
    p = np.concatenate([np.linspace(0.5, 1.0, 100), np.linspace(0.0, 0.8, 100)])
    loose = threshold_for(y, p, Goal("max_alert_share", 0.25))
    rare = threshold_for(y, p, Goal("max_alert_share", 0.25, threat_ratio=0.001))
    assert operating_point(y, p, loose)["alerts"] / 200 <= 0.25
    assert rare < loose  # fewer threats to come leave room for more alerts
    point = operating_point(y, p, rare)
    assert 0.001 * point["recall"]["value"] + 0.999 * point["fpr"]["value"] <= 0.25


def test_the_least_cost_is_the_least_of_all_thresholds():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 200)
    p = np.round(np.clip(rng.normal(0.4 + 0.2 * y, 0.2), 0, 1), 2)

    def cost(cut):
        point = operating_point(y, p, cut)
        return point["false_alerts"] + 7 * point["missed"]

    cut = threshold_for(y, p, Goal("least_cost", 7.0))
    assert cost(cut) == min(cost(other) for other in [*np.unique(p), 1.1])


def test_what_cannot_be_reached_is_said_with_what_can():
    y, p = np.array([1, 0, 1, 0]), np.array([0.9, 0.9, 0.5, 0.1])
    with pytest.raises(DataError, match=r"at most 0\.01, but the lowest that flags .* is 0\.5"):
        threshold_for(y, p, Goal("max_fpr", 0.01))
    with pytest.raises(DataError, match=r"at least 0\.99, but the highest is 0\.667"):
        threshold_for(y, p, Goal("min_precision", 0.99))
    with pytest.raises(DataError, match="both"):
        threshold_for(np.ones(4), p, Goal("max_fpr", 0.01))
    with pytest.raises(TrialError, match="finite"):
        threshold_for(y, np.array([0.9, np.nan, 0.5, 0.1]), Goal("max_fpr", 0.01))
