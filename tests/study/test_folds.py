"""The folds of a trial: their mean and its error, what the study keeps, and who falls behind."""

from __future__ import annotations

import statistics

import numpy as np
import pytest

from jamba_ray.config.budget import Limit
from jamba_ray.study.folds import is_beaten, joined, kept, standard_error, stored
from jamba_ray.study.records import TrialOutcome, from_text, to_text
from tests.study.studies import line, open_study


def fold(number, value, **changes):
    metrics = {"val/roc_auc": value / 2}
    return TrialOutcome(number, "complete", None, value, metrics, 3, 100, 2.0, 1.5, 1.0, **changes)


def test_a_result_is_the_mean_over_folds_with_a_corrected_error():
    found = joined({2: fold(7, 0.8), 1: fold(7, 0.6), 3: fold(7, 0.7)}, "complete", None, 0.5)
    assert found.value == pytest.approx(0.7)
    assert found.metrics["val/roc_auc"] == pytest.approx(0.35)
    assert found.folds == (0.6, 0.8, 0.7)
    assert found.rows_seen == 300
    assert found.std_error == pytest.approx(np.sqrt((1 / 3 + 0.5) * 0.01))
    assert standard_error([0.5], 0.2) is None


def test_the_corrected_error_is_not_too_small_and_the_plain_one_is():
    """A linear model of ten columns is judged by five folds of 60 rows, 400 times: its means have a
    spread of 0.272; the corrected error is 0.319 in the mean, the plain one 0.213."""
    rng = np.random.default_rng(0)
    means, corrected, plain = [], [], []
    for _ in range(400):
        x = rng.normal(size=(60, 10))
        y = x[:, 0] + rng.normal(size=60)
        scores = []
        for i in range(5):
            held = np.arange(60) % 5 == i
            weights = np.linalg.lstsq(x[~held], y[~held], rcond=None)[0]
            scores.append(-float(np.mean((y[held] - x[held] @ weights) ** 2)))
        means.append(statistics.fmean(scores))
        corrected.append(standard_error(scores, 0.25))
        plain.append(standard_error(scores, 0.0))
    spread = statistics.stdev(means)
    assert spread < statistics.fmean(corrected) < 1.3 * spread
    assert statistics.fmean(plain) < 0.85 * spread


def test_a_fold_survives_as_json_and_goes_with_the_trial():
    one = fold(3, 0.5, checkpoint="trial-0003/best-000003")
    assert kept({"fold:2": stored(one), "saved": 4}, 3) == {2: one}


@pytest.mark.parametrize(
    ("mine", "best", "direction", "beaten"),
    [
        ((0.5, 0.5, 0.51), (0.7, 0.71, 0.7), "maximize", True),
        ((0.5, 0.5, 0.51), (0.7, 0.71, 0.7), "minimize", False),
        ((0.5, 0.5), (0.7, 0.71, 0.7), "maximize", False),  # two differences have no spread
        ((0.5, 0.9, 0.6), (0.7, 0.71, 0.7), "maximize", False),  # behind, but not surely
        ((0.5, 0.5, 0.5), (0.7, 0.7, 0.7), "maximize", True),
        ((0.7, 0.7, 0.7), (0.7, 0.7, 0.7), "maximize", False),
        ((0.5, 0.5, 0.5), (0.7, 0.7), "maximize", False),
    ],
)
def test_who_is_surely_behind_on_the_same_folds_is_beaten(mine, best, direction, beaten):
    assert is_beaten(mine, best, direction) is beaten


def reports_of(study, spec):
    study.report([line(spec.number, 1, 0.5)])


def test_the_study_keeps_each_fold_and_hands_it_out_after_a_crash(tmp_path):
    study = open_study(tmp_path, session="a", folds=4)
    spec = study.ask("a/0").spec
    reports_of(study, spec)
    assert study.fold(spec.number, 1, fold(spec.number, 0.6)) == "continue"
    assert study.fold(spec.number, 2, fold(spec.number, 0.7)) == "continue"
    # A reply was lost: the same again changes nothing.
    assert study.fold(spec.number, 2, fold(spec.number, 0.9)) == "continue"
    study.close()
    again = open_study(tmp_path, session="b", folds=4)
    found = again.ask("b/0").spec
    assert found.number == spec.number
    assert {i: one["value"] for i, one in found.folds.items()} == {"1": 0.6, "2": 0.7}
    assert from_text(to_text(found)) == found
    values = {1: 0.6, 2: 0.7, 3: 0.65, 4: 0.7}
    folds = {i: fold(spec.number, v) for i, v in values.items()}
    for i in (3, 4):
        again.fold(spec.number, i, folds[i])
    again.finish(joined(folds, "complete", None, 0.25))
    (record,) = [r for r in again.records() if r.number == spec.number]
    assert record.folds == (0.6, 0.7, 0.65, 0.7)
    assert record.value == pytest.approx(0.6625)
    assert record.std_error == pytest.approx(standard_error(record.folds, 0.25))
    again.close()


def test_a_trial_that_falls_behind_is_pruned_after_a_fold_and_stays_so(tmp_path):
    study = open_study(tmp_path, session="a", folds=5)
    first = study.ask("a/0").spec
    reports_of(study, first)
    for i in range(1, 6):
        study.fold(first.number, i, fold(first.number, 0.8 + i / 1000))
    folds = {i: fold(first.number, 0.8 + i / 1000) for i in range(1, 6)}
    study.finish(joined(folds, "complete", None, 0.25))
    poor = study.ask("a/1").spec
    reports_of(study, poor)
    said = [study.fold(poor.number, i, fold(poor.number, 0.5)) for i in (1, 2, 3)]
    assert said == ["continue", "continue", "prune"]
    study.close()
    again = open_study(tmp_path, session="b", folds=5)
    assert again.ask("b/0").spec.number == poor.number
    assert again.between_folds(poor.number) == "prune"
    folds = {i: fold(poor.number, 0.5) for i in (1, 2, 3)}
    again.finish(joined(folds, "pruned", "It fell behind.", 0.25))
    record = again.records()[poor.number]
    assert (record.state, record.value, len(record.folds)) == ("pruned", 0.5, 3)
    again.close()


def test_of_fewer_folds_a_trial_that_the_budget_stopped_is_not_ranked_beside_whole_ones(tmp_path):
    now = [1000.0]
    study = open_study(
        tmp_path, session="a", folds=3, limit=Limit(60.0, "budget.hours"), clock=lambda: now[0]
    )
    specs = [study.ask(f"a/{i}").spec for i in range(2)]
    for spec in specs:
        reports_of(study, spec)
    whole_folds = {i: fold(specs[0].number, 0.6) for i in (1, 2, 3)}
    for i, one in whole_folds.items():
        study.fold(specs[0].number, i, one)
    study.finish(joined(whole_folds, "complete", None, 0.5))
    now[0] += 61.0
    assert study.fold(specs[1].number, 1, fold(specs[1].number, 0.9)) == "stop"
    study.finish(joined({1: fold(specs[1].number, 0.9)}, "stopped", None, 0.5))
    assert [r.state for r in study.records()] == ["complete", "pruned"]
    assert study.progress().best.number == specs[0].number
    study.close()
