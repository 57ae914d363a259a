from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from sklearn import metrics as sk

from jamba_ray.config.direction import direction_of
from jamba_ray.errors import DataError, TrialError
from jamba_ray.evaluation import METRICS, bayes_limit, score, undefined, value_of

# Few distinct probabilities, so that ties are everywhere.
ROWS = st.lists(
    st.tuples(st.booleans(), st.sampled_from([0.0, 0.1, 1 / 3, 0.5, 0.5000001, 0.9, 1.0])),
    min_size=2,
    max_size=60,
)


def _arrays(rows):
    y = np.array([r[0] for r in rows], dtype=np.float32)
    return y, np.array([r[1] for r in rows])


def _both(rows):
    y, p = _arrays(rows)
    assume(0 < y.sum() < len(y))
    return y, p


@given(ROWS, st.sampled_from([0.0, 0.1, 0.3, 0.5, 1.0]))
def test_metrics_equal_those_of_scikit_learn(rows, threshold):
    y, p = _both(rows)
    found = score(y, p, threshold)
    flagged = p >= threshold
    expected = {
        "roc_auc": sk.roc_auc_score(y, p),
        "average_precision": sk.average_precision_score(y, p),
        "f1": sk.f1_score(y, flagged, zero_division=0.0),
        "accuracy": sk.accuracy_score(y, flagged),
        "log_loss": sk.log_loss(y, p),
        "brier": sk.brier_score_loss(y, p),
    }
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-9, abs=1e-12), name


@given(ROWS, st.sampled_from([0.0, 1e-3, 0.1, 0.25, 0.5, 1.0]))
def test_recall_at_fpr_is_the_best_allowed_point_of_sklearns_roc_curve(rows, limit):
    from jamba_ray.evaluation.counts import count
    from jamba_ray.evaluation.metrics import recall_at_fpr

    y, p = _both(rows)
    fpr, tpr, _ = sk.roc_curve(y, p, drop_intermediate=False)
    assert recall_at_fpr(count(y, p), limit) == pytest.approx(tpr[fpr <= limit].max())


@given(ROWS, st.sampled_from([1e-3, 0.01, 0.25, 0.5, 0.9]))
def test_partial_auc_equals_that_of_scikit_learn(rows, limit):
    from jamba_ray.evaluation.counts import count
    from jamba_ray.evaluation.metrics import partial_auc

    y, p = _both(rows)
    assert partial_auc(count(y, p), limit) == pytest.approx(
        sk.roc_auc_score(y, p, max_fpr=limit), abs=1e-12
    )


@given(ROWS, st.sampled_from([1e-3, 0.1, 0.3, 1.0]), st.randoms())
def test_precision_at_alerts_is_the_mean_over_draws_among_equal_scores(rows, share, rng):
    from jamba_ray.evaluation.counts import count
    from jamba_ray.evaluation.metrics import n_alerts, precision_at_alerts

    y, p = _both(rows)
    k = n_alerts(len(y), share)
    found = precision_at_alerts(count(y, p), share)
    assert 0.0 <= found <= 1.0
    if k == int(k):
        last = np.sort(p)[::-1][int(k) - 1]
        above, tied = p > last, p == last
        expected = (y[above].sum() + (k - above.sum()) * y[tied].mean()) / k
        assert found == pytest.approx(expected)
    assert precision_at_alerts(count(y, p), 1.0) == pytest.approx(y.mean())


@given(ROWS)
def test_ece_is_the_weighted_gap_per_bin(rows):
    y, p = _arrays(rows)
    expected = 0.0
    for i in range(15):
        inside = (p >= i / 15) & ((p < (i + 1) / 15) | (i == 14))
        if inside.any():
            expected += inside.mean() * abs(p[inside].mean() - y[inside].mean(dtype=np.float64))
    assert score(y, p)["ece"] == pytest.approx(expected, abs=1e-9)


def test_tied_scores_are_one_block():
    y, p = [1, 0, 1, 0], [0.5] * 4
    values = score(y, p)
    assert values["roc_auc"] == 0.5
    assert values["average_precision"] == 0.5
    assert values["recall_at_fpr_1e-2"] == 0.0  # flagging one row would flag all of them


@pytest.mark.parametrize(("n_benign", "allowed"), [(100, 1), (700, 7), (99, 0), (3000, 30)])
def test_a_false_positive_rate_of_exactly_one_percent_is_allowed(n_benign, allowed):
    """One threat lies below each benign row: the recall tells how many of them were let pass."""
    p = np.linspace(1.0, 0.0, 2 * n_benign)
    y = np.tile([0.0, 1.0], n_benign)
    assert value_of("recall_at_fpr_1e-2", y, p) == allowed / n_benign


@given(ROWS, st.randoms())
def test_the_order_of_rows_does_not_matter(rows, rng):
    shuffled = list(rows)
    rng.shuffle(shuffled)
    a, b = score(*_arrays(rows)), score(*_arrays(shuffled))
    assert a == pytest.approx(b, rel=1e-12)


def test_ranking_metrics_ignore_a_monotone_change_of_the_probabilities():
    rng = np.random.default_rng(1)
    y, p = rng.integers(0, 2, 500), rng.random(500)
    for name in ("roc_auc", "average_precision", "recall_at_fpr_1e-2"):
        assert value_of(name, y, p) == value_of(name, y, p**3)
    assert value_of("ece", y, p) != value_of("ece", y, p**3)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_non_finite_probabilities_are_told_as_divergence(bad):
    for call in (
        lambda: score([0, 1, 1], [0.1, bad, bad]),
        lambda: value_of("ece", [0, 1], [0, bad]),
    ):
        with pytest.raises(TrialError, match=r"must be finite.*diverged.*learning_rate"):
            call()


@pytest.mark.parametrize("bad", [-0.1, 1.1])
def test_logits_are_refused(bad):
    with pytest.raises(TrialError, match=r"lie in \[0, 1\].*sigmoid"):
        score([0, 1], [0.5, bad])


@pytest.mark.parametrize(
    ("y", "p", "message"),
    [
        ([0, 1], [0.5], "shapes"),
        ([], [], "shapes"),
        ([[0], [1]], [[0.5], [0.5]], "shapes"),
        ([0, 2], [0.5, 0.5], "0 or 1, but one is"),
        ([0, np.nan], [0.5, 0.5], "0 or 1, but one is"),
    ],
)
def test_wrong_labels_and_shapes_are_refused(y, p, message):
    with pytest.raises(ValueError, match=message):
        score(y, p)


@pytest.mark.parametrize("label", [0, 1])
def test_metrics_without_meaning_on_one_class_are_left_out_and_explained(label):
    y, p = [label] * 3, [0.2, 0.5, 0.9]
    values = score(y, p)
    reasons = undefined(sum(y), len(y) - sum(y))
    assert set(values) | set(reasons) == set(METRICS)
    assert not set(values) & set(reasons)
    assert "roc_auc" in reasons
    assert ("f1" in reasons) == (label == 0)
    assert "threats" in reasons["roc_auc"] or "benign rows" in reasons["roc_auc"]
    json.dumps(values, allow_nan=False)
    with pytest.raises(DataError, match=r"`roc_auc` needs both classes, but there are no"):
        value_of("roc_auc", y, p)


@given(ROWS)
def test_no_metric_is_ever_nan(rows):
    json.dumps(score(*_arrays(rows)), allow_nan=False)


def test_value_of_and_score_agree_and_the_threshold_defaults_to_a_half():
    rng = np.random.default_rng(2)
    y, p = rng.integers(0, 2, 300), rng.random(300)
    values = score(y, p)
    assert values == {name: value_of(name, y, p) for name in METRICS}
    assert values["f1"] == score(y, p, 0.5)["f1"]
    assert values["f1"] != score(y, p, 0.2)["f1"]


def test_errors_and_losses_are_to_be_small():
    assert {n for n in METRICS if direction_of(n) == "minimize"} == {"ece", "brier", "log_loss"}


def test_the_bayes_limit_is_beaten_by_no_distortion_of_the_truth():
    """On 20,000 rows a model whose ranking is disturbed stays below the truth (false failure
    rate: the gap of 0.01 is more than 6 standard errors of the paired difference)."""
    rng = np.random.default_rng(3)
    truth = rng.beta(0.7, 0.7, 20_000)
    y = (rng.random(20_000) < truth).astype(float)
    limit = bayes_limit(y, truth)
    model = score(y, np.clip(truth + rng.normal(0, 0.2, 20_000), 0, 1))
    assert limit["roc_auc"] > model["roc_auc"] + 0.01
    assert limit["log_loss"] < model["log_loss"]
    assert limit["f1"] > model["f1"]
    assert limit["ece"] < 0.02
    assert limit["accuracy"] == score(y, truth, 0.5)["accuracy"]
    assert "f1" not in bayes_limit([0, 0], [0.1, 0.2])
