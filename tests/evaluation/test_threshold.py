from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk

from jamba_ray.errors import DataError
from jamba_ray.evaluation import (
    by_group,
    by_novelty,
    choose_threshold,
    confusion,
    operating_points,
    score,
)

ROWS = st.lists(st.tuples(st.booleans(), st.floats(0, 1)), min_size=1, max_size=40)


@given(ROWS)
def test_no_other_threshold_has_a_higher_f1(rows):
    y, p = np.array([r[0] for r in rows]), np.array([r[1] for r in rows])
    if not y.any():
        with pytest.raises(DataError, match="needs threats"):
            choose_threshold(y, p)
        return
    chosen = choose_threshold(y, p)
    best = max(score(y, p, t)["f1"] for t in p)
    assert score(y, p, chosen)["f1"] == best
    assert 0.0 <= chosen <= 1.0


def test_the_threshold_keeps_its_distance_from_the_scores():
    chosen = choose_threshold([0, 0, 1, 1], [0.1, 0.2, 0.6, 0.9])
    assert chosen == pytest.approx(0.4)


def test_among_equal_f1_the_fewest_alarms_win():
    # Flagging the first row alone or the first four gives the same F1 of 2/3.
    y, p = [1, 0, 0, 1], [0.9, 0.8, 0.7, 0.6]
    assert score(y, p, 0.85)["f1"] == score(y, p, 0.5)["f1"]
    assert choose_threshold(y, p) > 0.8


def test_operating_points_keep_their_promise_on_their_own_rows():
    rng = np.random.default_rng(0)
    y = rng.random(5000) < 0.3
    p = np.clip(rng.normal(0.3 + 0.3 * y, 0.15), 0, 1)
    points = operating_points(y, p)
    for name, limit in (("fpr_1e-2", 1e-2), ("fpr_1e-3", 1e-3)):
        point = points[name]
        table = confusion(y, p, point["threshold"])
        assert table["false_positives"] / (~y).sum() == point["fpr"] <= limit
        assert table["true_positives"] / y.sum() == point["recall"]
        assert point["recall"] == score(y, p)[f"recall_at_{name}"]
        # The next lower score would break the promise.
        lower = p[p < point["threshold"]].max()
        assert ((p >= lower) & ~y).sum() / (~y).sum() > limit
    assert points["fpr_1e-3"]["threshold"] > points["fpr_1e-2"]["threshold"]


def test_where_even_the_first_alarm_is_too_many_nothing_is_flagged():
    y, p = [0, 1, 1], [1.0, 1.0, 0.2]
    point = operating_points(y, p)["fpr_1e-2"]
    assert confusion(y, p, point["threshold"])["false_positives"] == 0
    assert (point["recall"], point["precision"]) == (0.0, None)
    json.dumps(point, allow_nan=False)


@pytest.mark.parametrize("y", [[0, 0], [1, 1]])
def test_operating_points_of_one_class_are_refused(y):
    with pytest.raises(DataError, match="need threats and benign rows"):
        operating_points(y, [0.1, 0.2])


@given(ROWS, st.floats(0, 1))
def test_confusion_equals_scikit_learns(rows, threshold):
    y, p = np.array([r[0] for r in rows]), np.array([r[1] for r in rows])
    tn, fp, fn, tp = sk.confusion_matrix(y, p >= threshold, labels=[False, True]).ravel()
    assert confusion(y, p, threshold) == {
        "true_positives": tp, "false_positives": fp, "true_negatives": tn, "false_negatives": fn,
    }  # fmt: skip


GROUPS = ["smurf", "smurf", "apache2", "normal", "normal", "normal", "mixed", "mixed"]
LABELS = [1, 1, 1, 0, 0, 0, 1, 0]
SCORES = [0.9, 0.2, 0.1, 0.8, 0.1, 0.1, 0.9, 0.9]


def test_results_per_group_tell_what_was_missed_and_what_training_knew():
    results = {
        r["group"]: r for r in by_group(LABELS, SCORES, GROUPS, 0.5, seen=["smurf", "normal"])
    }
    assert list(results) == ["smurf", "mixed", "apache2", "normal"]
    assert results["smurf"] == {
        "group": "smurf", "rows": 2, "threats": 2, "recall": 0.5, "fpr": None, "seen": True,
    }  # fmt: skip
    assert results["apache2"]["recall"] == 0.0
    assert results["apache2"]["seen"] is False
    assert (results["normal"]["recall"], results["normal"]["fpr"]) == (None, 1 / 3)
    assert (results["mixed"]["recall"], results["mixed"]["fpr"]) == (1.0, 1.0)
    json.dumps(list(results.values()), allow_nan=False)
    assert by_group(LABELS, SCORES, GROUPS, 0.5)[0]["seen"] is None


def test_seen_and_unseen_groups_are_summed_up():
    seen, unseen = by_novelty(LABELS, SCORES, GROUPS, 0.5, seen=["smurf", "normal"])
    assert (seen["group"], seen["rows"], seen["recall"], seen["fpr"]) == ("seen", 5, 0.5, 1 / 3)
    assert (unseen["group"], unseen["threats"], unseen["recall"]) == ("unseen", 2, 0.5)
    assert (seen["seen"], unseen["seen"]) == (True, False)


def test_one_group_per_row_is_needed():
    with pytest.raises(ValueError, match="one group per row"):
        by_group(LABELS, SCORES, GROUPS[1:], 0.5)
