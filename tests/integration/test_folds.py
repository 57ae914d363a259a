"""Cross-validated sweeps: on noise they find nothing, and a kill repeats no finished fold."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pyarrow.parquet as pq
import pytest

import jamba_ray
from jamba_ray.config.cv import CvSection
from jamba_ray.config.data import SplitSection, SyntheticSection
from jamba_ray.config.run import SweepConfig
from jamba_ray.data import prepare
from jamba_ray.driver.refit import refit
from jamba_ray.evaluation import value_of
from jamba_ray.inference import Predictor
from jamba_ray.runners.fold_trainer import FoldCalls
from jamba_ray.runners.runner import Runner
from jamba_ray.runs.run_folder import RunFolder
from jamba_ray.study.records import TrialRecord, TrialSpec
from jamba_ray.study.settings import base_config
from tests.study.studies import plain

FOLDS = CvSection(folds=3)


def noise():
    """1,500 rows whose labels were drawn by coin."""
    section = SyntheticSection(n_samples=1500, n_features=6, split=SplitSection(test=0.3))
    data = prepare(section, cv=FOLDS)
    rng = np.random.default_rng(11)

    def drawn(rows):
        return dataclasses.replace(rows, y=(rng.random(len(rows)) < 0.4).astype(np.float32))

    # A row has one label, whichever fold it is in: folds are divided anew from the noise.
    train = drawn(data.train)
    at = np.arange(len(train)) % 3
    folds = tuple(
        dataclasses.replace(
            fold, train=train.take(np.flatnonzero(at != i)), val=train.take(np.flatnonzero(at == i))
        )
        for i, fold in enumerate(data.folds)
    )
    tests = {"test": drawn(data.tests["test"])}
    return dataclasses.replace(data, train=train, val=drawn(data.val), tests=tests, folds=folds)


def searched(data, folder, n_trials=4):
    """Trains trials of random settings over their folds; the best one is trained again."""
    config = SweepConfig.model_validate(
        {
            "model": {"name": "lightgbm", "n_estimators": 20},
            "training": {"epochs": 4},
            "data": {"name": "synthetic"},
            "objective": "roc_auc",
            "cv": {"folds": 3},
        }
    )
    calls = FoldCalls(lambda *told: "continue", lambda trial: "continue")
    runner = Runner(folder, data, fold_calls=calls)
    base = base_config(config, len(data.searched.train))
    ends = []
    for i in range(n_trials):
        params = {"model.num_leaves": 4 + 4 * i, "model.learning_rate": 0.05 * (i + 1)}
        spec = TrialSpec(i, params)
        (end,) = runner.train([spec], base, lambda reports: ["continue"] * len(reports))
        ends.append((end.value, spec, end))
    value, spec, end = max(ends, key=lambda one: one[0])
    fields = {f.name: getattr(end, f.name) for f in dataclasses.fields(end)}
    record = TrialRecord(**{**fields, "params": spec.params, "curve": ()})
    return value, refit(config, data, folder, record)


def auc(snapshot, rows):
    return value_of("roc_auc", rows.y, Predictor(snapshot).score_rows(rows))


def test_on_noise_the_winner_is_no_better_than_chance_on_rows_that_no_fold_had(tmp_path):
    """The ROC AUC of 450 rows of noise has a standard error of 0.028: four of them fail a sound
    sweep once in 16,000. Twin: folds that hold out rows on which they trained find a pattern."""
    data = noise()
    value, found = searched(data, RunFolder(tmp_path / "a").create())
    assert abs(auc(found.snapshot, data.tests["test"]) - 0.5) < 4 * 0.028
    assert abs(value - 0.5) < 0.1  # the best of four means over 735 rows
    assert found.snapshot.documents["metrics"]["threshold"] == found.threshold

    leaking = dataclasses.replace(
        data, folds=tuple(dataclasses.replace(f, train=data.train) for f in data.folds)
    )
    value, found = searched(leaking, RunFolder(tmp_path / "b").create(), n_trials=1)
    assert value > 0.62
    assert abs(auc(found.snapshot, data.tests["test"]) - 0.5) < 4 * 0.028


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_killed_sweep_trains_no_finished_fold_again(tmp_path):
    """kill -9 of the driver and all its processes in the middle of a trial's folds; the models of
    finished folds are then the files that they were."""
    (tmp_path / "sweeps").mkdir()
    (tmp_path / "sweeps" / "folds.yaml").write_text(
        "# @package _global_\nsweep_name: folds\nn_trials: 3\n"
        "search_space:\n  training:\n    learning_rate: {type: float, low: 1.0e-3, high: 1.0e-2}\n"
    )
    words = [
        *("sweep=folds", "run=killed", "cv.folds=4", "model=mlp", "training.epochs=10"),
        *("data.n_samples=4000", "data.n_features=8", "max_concurrent=1", "rival=false"),
    ]
    command = [sys.executable, "-m", "jamba_ray.sweep", *words]
    folder = RunFolder(tmp_path / "runs" / "killed")
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and process.poll() is None:
        if is_among_folds(known_folds(folder)):
            break
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    known, finished = known_folds(folder), models(folder)
    assert is_among_folds(known), "some trial has finished its first fold and not all of them"
    done = subprocess.run([*command, "resume=true"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    after = models(folder)
    for trial, fold in known:
        if trial in after:  # the models of the best trials are kept
            assert after[trial][fold] == finished[trial][fold], (trial, fold)
    summary = json.loads(folder.summary.read_text())
    assert summary["cv"]["mean"] == pytest.approx(np.mean(summary["cv"]["values"]))
    assert len(summary["cv"]["values"]) == 4
    assert summary["best"]["threshold"] == summary["cv"]["threshold"]
    assert jamba_ray.load(folder.best).threshold == summary["cv"]["threshold"]
    table = pq.read_table(folder.trials).to_pydict()
    assert [len(f or ()) for f in table["folds"]].count(4) >= 1


def known_folds(folder):
    """(trial, fold) of the folds whose results the study holds."""
    if not folder.study.exists():
        return set()
    return {
        (trial.number, int(key.removeprefix("fold:")))
        for trial in plain(folder.study).get_trials()
        for key in trial.user_attrs
        if key.startswith("fold:")
    }


def is_among_folds(known):
    """Whether some trial has finished folds, and others to train."""
    trials = [trial for trial, _ in known]
    return any(0 < trials.count(trial) < 4 for trial in set(trials))


def models(folder):
    """trial -> fold -> the bytes of its manifest, which names the time at which it was written."""
    found = {}
    for path in folder.checkpoints.glob("trial-*/fold-*/manifest.json"):
        trial, fold = (int(p.name.partition("-")[2]) for p in (path.parents[1], path.parent))
        found.setdefault(trial, {})[fold] = path.read_bytes()
    return found
