"""Further folds of a trial: the same models as alone, none trained twice, and faults of its own."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from jamba_ray.config.cv import CvSection
from jamba_ray.config.data import SyntheticSection
from jamba_ray.config.run import TrialConfig
from jamba_ray.data import prepare
from jamba_ray.driver.refit import out_of_fold
from jamba_ray.errors import CheckpointError, TrialError
from jamba_ray.runners.fold_trainer import FoldCalls
from jamba_ray.runners.runner import Runner, member_of
from jamba_ray.runs.run_folder import RunFolder
from jamba_ray.study.folds import stored
from jamba_ray.study.records import TrialSpec
from jamba_ray.training import fit
from jamba_ray.training.folds import member_of_fold


@pytest.fixture(scope="module")
def data():
    section = SyntheticSection(n_samples=500, n_features=6)
    return prepare(section, cv=CvSection(folds=3))


@pytest.fixture
def folder(tmp_path):
    return RunFolder(tmp_path / "run").create()


BASE = TrialConfig.model_validate(
    {
        "model": {"name": "mlp", "hidden_dim": 8, "token_dim": 4},
        "training": {"epochs": 2, "batch_size": 64, "report_rows": 300},
        "seed": 5,
    }
)


class Study:
    """What the folds are told to; ``say`` decides after each."""

    def __init__(self, say=lambda fold: "continue"):
        self.say, self.told = say, {}

    def calls(self, together=False):
        return FoldCalls(self.finished, lambda trial: "continue", together=together)

    def finished(self, trial, fold, result):
        self.told[fold] = result
        return self.say(fold)


def carry_on(reports):
    return ["continue"] * len(reports)


def runner(folder, data, study, fit=fit):
    return Runner(folder, data, fit=fit, fold_calls=study.calls())


def test_each_fold_is_the_model_that_it_is_alone_and_its_result_the_mean(folder, data):
    study = Study()
    (end,) = runner(folder, data, study).train([TrialSpec(3, {})], BASE, carry_on)
    assert (end.state, len(end.folds), set(study.told)) == ("complete", 3, {1, 2, 3})
    assert end.value == pytest.approx(np.mean(end.folds))
    assert end.std_error > 0
    member = member_of(TrialSpec(3, {}), BASE)
    for i, rows in enumerate(data.folds, start=1):
        (alone,) = fit([member_of_fold(member, i)], rows, carry_on)
        assert end.folds[i - 1] == alone.value
    # Other rows and other seeds: no two folds are the same.
    assert len(set(end.folds)) == 3
    kinds = sorted((e.kind, e.step) for e in folder.checkpoint_store().entries(3))
    assert [k for k in kinds if k[0] == "fold"] == [("fold", 1), ("fold", 2), ("fold", 3)]


def test_out_of_fold_each_row_is_scored_by_the_model_that_did_not_see_it(folder, data):
    runner(folder, data, Study()).train([TrialSpec(3, {})], BASE, carry_on)
    store = folder.checkpoint_store()
    y, p = out_of_fold(3, data, store)
    assert len(y) == len(data.train)
    assert sorted(y) == sorted(data.train.y)
    # Folds in another order would score rows by models that trained on them.
    turned = dataclasses.replace(data, folds=(data.folds[1], data.folds[0], data.folds[2]))
    with pytest.raises(CheckpointError, match=r"fold 1 of trial 3 must be of this sweep's rows"):
        out_of_fold(3, turned, store)
    with pytest.raises(CheckpointError, match=r"that of fold 1 of trial 4 is gone"):
        out_of_fold(4, data, store)
    assert np.isfinite(p).all()


def test_no_finished_fold_is_trained_again(folder, data):
    whole, seen = Study(), []
    (expected,) = runner(folder, data, whole).train([TrialSpec(3, {})], BASE, carry_on)

    def counted(members, rows, report, **how):
        seen.append(rows.fingerprint)
        return fit(members, rows, report, **how)

    folds = {str(i): stored(whole.told[i]) for i in (1, 2)}
    resumed = TrialSpec(3, {}, resumed=True, step=4, folds=folds)
    (end,) = runner(folder, data, Study(), counted).train([resumed], BASE, carry_on)
    assert seen == [data.folds[2].fingerprint]
    assert end.folds == expected.folds
    assert (end.value, end.checkpoint) == (expected.value, expected.checkpoint)


def test_after_a_fold_the_study_may_end_the_trial(folder, data):
    study = Study(lambda fold: "prune" if fold == 2 else "continue")
    (end,) = runner(folder, data, study).train([TrialSpec(0, {})], BASE, carry_on)
    assert (end.state, len(end.folds)) == ("pruned", 2)
    assert end.reason == "It fell behind the best trial after 2 folds."


def test_a_trial_that_a_rung_stops_in_its_first_fold_trains_no_other(folder, data):
    study = Study()
    (end,) = runner(folder, data, study).train(
        [TrialSpec(0, {})], BASE, lambda reports: ["prune"] * len(reports)
    )
    assert (end.state, end.folds, study.told) == ("pruned", (), {})


def test_a_fold_that_fails_is_its_trials_failure_alone(folder, data):
    def faulty(members, rows, report, **how):
        if rows is data.folds[1]:
            raise TrialError("The rows are bad.")
        return fit(members, rows, report, **how)

    ends = runner(folder, data, Study(), faulty).train([TrialSpec(0, {})], BASE, carry_on)
    assert [(e.state, e.reason) for e in ends] == [("failed", "The rows are bad.")]
