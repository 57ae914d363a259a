"""What validation rows led to expect of the test."""

import dataclasses

import numpy as np
import pytest

from jamba_ray.data.prepared import Rows
from jamba_ray.driver.expectation import expectation, new_threats
from jamba_ray.evaluation import expected, intervals
from tests.training.trials import make_data

AP = "average_precision"


@pytest.fixture(autouse=True)
def _few_resamples(monkeypatch):
    monkeypatch.setattr(expected, "_RESAMPLES", 60)


def shaped(n, seed, moved=0.0, share=0.3, groups=None):
    """Returns rows whose first column tells the label, and the second nothing but ``moved``."""
    rng = np.random.default_rng(seed)
    y = (rng.random(n) < share).astype(np.float32)
    x = rng.normal(size=(n, 4)).astype(np.float32)
    x[:, 0] += 2 * y
    x[:, 1] += moved
    group = None if groups is None else np.where(y == 1, rng.choice(groups, n), "benign")
    return Rows(x, np.zeros((n, 0), np.int64), y, group)


def expected_of(train, val, test, apart=None, split="random", objective=AP):
    shift = {"comparisons": [] if apart is None else [_comparison(*apart)]}
    data = dataclasses.replace(
        make_data(50, 50),
        train=train,
        val=val,
        tests={} if test is None else {"test": test},
        overview={"split": {"kind": split, "cut": []}, "shift": shift},
    )

    def p(rows):
        return 1 / (1 + np.exp(-rows.x_num[:, 0].astype(float)))

    best = {"val": intervals(val.y, p(val), n=20)}
    if test is not None:
        best["test"] = intervals(test.y, p(test), n=20)
    return expectation(data, p(val), best, objective)


def _comparison(part, auc, low):
    return {"part": part, "roc_auc": {"value": auc, "low": low, "high": auc}, "columns": []}


def test_without_a_shift_the_test_is_inside_and_it_is_said():
    told = expected_of(shaped(800, 0), shaped(300, 1), shaped(600, 2), ("test", 0.5, 0.47))
    assert told["holds"]
    assert told["unlike"] == 0.0
    assert told["effective_rows"] is None
    assert "was to be expected of the 600 test rows (no shift was found)" in told["sentence"]
    assert told["sentence"].startswith(
        "By 300 validation rows (drawn by chance), average precision"
    )


def test_another_share_of_threats_is_counted():
    told = expected_of(shaped(800, 0), shaped(300, 1), shaped(900, 2, share=0.05))
    assert told["holds"]
    assert told["high"] < 0.9


def test_under_a_moderate_shift_it_is_wider_and_a_strong_one_leaves_nothing():
    parts = shaped(800, 0), shaped(300, 1), shaped(600, 2, moved=0.5)
    none = expected_of(*parts)
    some = expected_of(*parts, ("test", 0.64, 0.61))
    assert some["low"] < none["low"]
    assert some["holds"]
    assert some["unlike"] == pytest.approx(0.22)
    assert some["effective_rows"] > 20
    assert "told from validation's with ROC AUC 0.640" in some["sentence"]
    strong = expected_of(*parts, ("test", 0.97, 0.96))
    assert strong["low"] is None
    assert strong["holds"] is None
    assert "cannot tell the test's average precision: 92% of them may be" in strong["sentence"]


def test_attacks_that_training_never_had_are_counted_and_the_split_that_shows_them_is_named():
    known = ["scan", "flood"]
    train, val = shaped(800, 0, groups=known), shaped(300, 1, groups=known)
    told = expected_of(train, val, shaped(600, 2, groups=["scan", "worm", "worm"]))
    assert told["new_threats"] == pytest.approx(2 / 3, abs=0.1)
    assert told["low"] is None
    assert "data.split.kind=group" in told["sentence"]
    split = expected_of(
        train, shaped(300, 1, groups=["virus"]), shaped(600, 2, groups=["worm"]), None, "group"
    )
    assert split["new_threats"] == 0.0
    assert split["holds"]


def test_between_newer_validation_rows_and_the_test_the_shift_is_measured():
    parts = shaped(800, 0), shaped(300, 1, moved=2.0)
    alike = expected_of(*parts, shaped(300, 2, moved=2.0), None, "time")
    assert alike["holds"]
    assert alike["shift"]["roc_auc"] < 0.6
    other = expected_of(*parts, shaped(300, 2, moved=6.0), None, "time")
    assert other["low"] is None
    assert "(the newest ones)" in other["sentence"]


def test_without_a_test_it_says_on_what_the_interval_stands():
    train, val = shaped(800, 0), shaped(300, 1)
    alone = expected_of(train, val, None)["sentence"]
    assert "stands on 300 validation rows (drawn by chance)" in alone
    assert "no later rows" in alone
    same = expected_of(train, val, None, ("newest", 0.5, 0.46))["sentence"]
    assert "the newest rows are not told from others" in same
    drift = expected_of(train, val, None, ("newest", 0.66, 0.62))
    assert drift["sentence"].startswith("Of rows to come expect average precision 0.")
    gone = expected_of(train, val, None, ("newest", 0.95, 0.93))
    assert "cannot tell the average precision of rows to come" in gone["sentence"]


def test_another_objective_has_its_own_interval_or_that_of_average_precision():
    parts = shaped(400, 0), shaped(200, 1), shaped(200, 2)
    assert expected_of(*parts, objective="roc_auc")["metric"] == "roc_auc"
    assert expected_of(*parts, objective="log_loss")["metric"] == AP


def test_rows_without_groups_have_no_new_threats():
    data = make_data(50, 50)
    assert new_threats(data, data.val) == 0.0
