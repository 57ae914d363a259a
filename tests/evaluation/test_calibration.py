from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.calibration import _SigmoidCalibration
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from jamba_ray.errors import DataError
from jamba_ray.evaluation.calibration import METHODS, MOST_ROWS, Calibration, calibrated, judged


def draw(n=4000, seed=0, temperature=3.0, share=0.3):
    """Scores that rank well and are far too certain."""
    rng = np.random.default_rng(seed)
    y = rng.random(n) < share
    truth = np.log(share / (1 - share)) + 2 * rng.normal(2 * y - 1, 1)  # log-odds
    return y, 1 / (1 + np.exp(-temperature * truth))


def fitted(method, y, p):
    return calibrated(y, p, method).calibration


def test_isotonic_equals_scikit_learns():
    y, p = draw()
    p = np.round(p, 2)  # many rows share a score
    found = fitted("isotonic", y, p)
    theirs = IsotonicRegression(out_of_bounds="clip").fit(p, y)
    at = np.linspace(0, 1, 1001)
    low = 1 / (len(y) + 2)  # ours is never quite certain
    np.testing.assert_allclose(found(at), np.clip(theirs.predict(at), low, 1 - low), atol=1e-9)


def test_platt_equals_scikit_learns_on_the_log_odds():
    y, p = draw(temperature=0.5)
    z = np.log(p / (1 - p))
    theirs = _SigmoidCalibration().fit(z, y)
    np.testing.assert_allclose(fitted("platt", y, p)(p), theirs.predict(z), atol=2e-5)


def test_temperature_and_beta_equal_logistic_regressions_without_penalty():
    y, p = draw(40_000, temperature=0.7)
    z = np.log(p / (1 - p))
    one = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-8).fit(z[:, None], y)
    found = fitted("temperature", y, p)(p)
    # Platt's targets differ from the labels by 1 in as many rows as there are of a class.
    np.testing.assert_allclose(found, one.predict_proba(z[:, None])[:, 1], atol=1e-3)
    columns = np.stack([np.log(p), -np.log1p(-p)], axis=1)
    three = LogisticRegression(C=np.inf, tol=1e-8, max_iter=1000).fit(columns, y)
    found = fitted("beta", y, p)(p)
    np.testing.assert_allclose(found, three.predict_proba(columns)[:, 1], atol=1e-3)


ROWS = st.lists(
    st.tuples(st.booleans(), st.sampled_from([0.0, 1e-9, 0.1, 0.3, 0.5, 0.9, 1 - 1e-12, 1.0])),
    min_size=8,
    max_size=60,
).filter(lambda rows: 2 <= sum(y for y, _ in rows) <= len(rows) - 2)


@given(ROWS, st.sampled_from([*METHODS, "auto"]), st.sampled_from([None, 1e-4, 0.5]))
def test_no_map_changes_the_order_of_two_scores_and_each_comes_back_from_json(rows, method, prior):
    y, p = np.array([y for y, _ in rows]), np.array([p for _, p in rows])
    found = fitted(method, y, p)
    mapped = found(np.sort(p), prior)
    assert (np.diff(mapped) >= -1e-15).all()
    assert ((mapped >= 0) & (mapped <= 1)).all()
    again = Calibration.from_json(json.loads(json.dumps(found.to_json(), allow_nan=False)))
    assert np.array_equal(again(p, prior), found(p, prior))


def test_the_map_with_the_least_loss_on_rows_it_has_not_seen_is_chosen():
    y, p = draw(temperature=3.0)
    found = calibrated(y, p)
    assert found.calibration.method in ("temperature", "platt", "beta")  # all hold the truth
    assert fitted("temperature", y, p).parameters["scale"][0] == pytest.approx(1 / 3, abs=0.03)
    assert found.after["log_loss"] < found.before["log_loss"]
    assert found.after["ece"] < 0.5 * found.before["ece"]
    assert found.after["brier"] < found.before["brier"]
    other = judged(*(lambda y, p: (y, found.calibration(p)))(*draw(seed=1)))
    assert other["ece"] == pytest.approx(found.after["ece"], abs=0.01)
    y, p = draw(temperature=1.0)
    assert calibrated(y, p).after["log_loss"] <= calibrated(y, p).before["log_loss"]


def test_what_is_told_is_not_flattered_by_the_fit():
    """Isotonic steps fit noise: on their own rows they look calibrated, whatever the scores."""
    y, p = draw(200, temperature=1.0)
    found = calibrated(y, p, "isotonic")
    own = judged(y, found.calibration(p))
    assert own["ece"] < 0.03
    assert found.after["log_loss"] > own["log_loss"]


def test_few_rows_of_a_class_leave_the_scores_as_they_are_or_are_refused():
    y, p = draw(2000)
    few = np.concatenate([np.flatnonzero(y)[:10], np.flatnonzero(~y)])
    assert calibrated(y[few], p[few]).calibration.method == "none"
    assert fitted("platt", y[few], p[few]).method == "platt"
    with pytest.raises(DataError, match="at least two threats"):
        calibrated(np.zeros(9), p[:9])


def test_another_share_of_threats_moves_the_odds_as_bayes_rule_does():
    """Among rows of which 0.1 % are threats the moved probabilities are calibrated."""
    y, p = draw(temperature=1.0, share=0.5)
    found = fitted("platt", y, p)
    rng = np.random.default_rng(1)
    rare = rng.random(500_000) < 0.001
    scores = 1 / (1 + np.exp(-2 * rng.normal(2 * rare - 1, 1)))
    moved = found(scores, 0.001)
    assert moved.mean() == pytest.approx(0.001, rel=0.2)
    assert found(scores).mean() > 0.1  # the twin: without it they are not
    assert np.array_equal(np.argsort(moved, kind="stable"), np.argsort(scores, kind="stable"))


def test_many_rows_are_drawn_from():
    y, p = draw(MOST_ROWS + 5000)
    found = calibrated(y, p, "temperature").calibration
    assert found.parameters["scale"][0] == pytest.approx(1 / 3, abs=0.01)


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"method": "magic", "parameters": {}, "threat_share": 0.5},
        {"method": "platt", "parameters": {"slope": [-1.0], "offset": [0.0]}, "threat_share": 0.5},
        {"method": "platt", "parameters": {"slope": [1.0]}, "threat_share": 0.5},
        {"method": "isotonic", "parameters": {"x": [0, 1], "y": [1, 0]}, "threat_share": 0.5},
        {"method": "isotonic", "parameters": {"x": [1, 0], "y": [0, 1]}, "threat_share": 0.5},
        {"method": "isotonic", "parameters": {"x": [], "y": []}, "threat_share": 0.5},
        {"method": "none", "parameters": {}, "threat_share": 1.5},
        {"method": "none", "parameters": [], "threat_share": 0.5},
    ],
)
def test_what_is_no_calibration_is_refused(value):
    with pytest.raises(ValueError, match="it must"):
        Calibration.from_json(value)
