"""Tests that the winner is trained again on more rows: real models, real files."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
import torch

from jamba_ray.data.prepared import Rows
from jamba_ray.driver import more_rows, retraining, verdict
from jamba_ray.inference import Predictor, load
from jamba_ray.inference.team import Part
from jamba_ray.training import fit
from tests.driver.team_run import configured, trained
from tests.driver.test_team import best_of, frame_of

PLATEAU = {
    "training": {
        "batch_size": 64,
        "schedule": "plateau",
        "epochs": 30,
        "report_rows": 512,
        "patience": 2,
    }
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    torch.set_num_threads(1)
    return trained(tmp_path_factory.mktemp("refit"), frame_of(600), **PLATEAU)


def model_of(folder, trial):
    return folder.checkpoint_store().load(trial.checkpoint)


def judged(run, trials=None, **settings):
    config, data, folder, known = run
    settings = {"certify": False, "ensemble": False, "refit": True, **PLATEAU, **settings}
    config = configured(folder.path.parent, **settings)
    trials = trials or known
    found = verdict.of_winner(config, data, folder, best_of(trials), trials, search_s=100.0)
    json.dumps(found["refit"], allow_nan=False)
    return found


def test_half_of_validation_is_trained_on_and_the_other_half_stays_unseen(run):
    _, data, folder, trials = run
    found = judged(run, rival=True)
    told = found["refit"]
    assert told["used"]
    assert told["train_rows"] == len(data.train) + told["rows"]
    assert told["rows"] + told["val_rows"] == len(data.val)
    assert abs(told["rows"] - told["val_rows"]) < 0.1 * len(data.val)
    # `best/` is that model, and its figures and scores are of the rows that it never saw.
    larger = more_rows.enlarged(data)
    best = load(folder.best)
    assert best.score_rows(data.tests["test"]) == pytest.approx(
        verdict.judge(best, larger).probabilities["test"]
    )
    scores = pd.read_parquet(folder.scores)
    val = scores[scores["part"] == "val"]
    assert len(val) == told["val_rows"]
    np.testing.assert_allclose(val["probability"], best.score_rows(larger.val))
    assert best.metrics["val/average_precision"] == pytest.approx(
        found["best"]["val"]["average_precision"]["value"]
    )
    single = Predictor(model_of(folder, best_of(trials)))
    assert not np.allclose(best.score_rows(larger.val), single.score_rows(larger.val))
    rival = load(folder.rivals / "lightgbm") if found["rivals"] else None
    if rival is not None:  # no rival of itself
        np.testing.assert_allclose(val["baseline"], rival.score_rows(larger.val))
    assert f"{told['val_rows']:,}, on which nothing was trained" in told["sentence"]


@pytest.mark.slow
def test_what_was_trained_before_a_kill_is_read_and_not_trained_again(run, monkeypatch):
    first = judged(run)
    calls = []
    monkeypatch.setattr(
        retraining, "fit", lambda *args, **how: calls.append(1) or fit(*args, **how)
    )
    again = judged(run)
    assert not calls
    assert {**again["refit"], "seconds": 0} == {**first["refit"], "seconds": 0}
    assert again["best"] == first["best"]


@pytest.mark.parametrize("number", [0, 1])
def test_the_length_that_validation_chose_is_carried_over(run, number):
    """Trees: as many; a network: as many passes, and its rate is lowered at the same report."""
    _, data, folder, trials = run
    snapshot = model_of(folder, trials[number])
    larger = more_rows.enlarged(data)
    member = more_rows.carried(snapshot, len(data.train), len(larger.train))
    assert member.keeps_last
    (outcome,) = fit([member], larger, lambda reports: ["continue"] * len(reports))
    before, after = snapshot.documents["state"], outcome.checkpoint.documents["state"]
    if number == 0:
        assert after["best_rounds"] == before["best_rounds"]
    else:
        assert after["cooling_from"] == before["cooling_from"]
        assert after["best_step"] == after["step"] == before["step"]
        assert outcome.epochs == pytest.approx(before["rows_seen"] / len(data.train), rel=0.05)


def test_on_the_same_rows_it_is_the_same_model_where_the_last_report_was_the_best(run):
    """The twin of the one above: nothing but rows and length differs."""
    _, data, folder, trials = run
    snapshot = model_of(folder, trials[0])
    member = more_rows.carried(snapshot, len(data.train), len(data.train))
    (outcome,) = fit([member], data, lambda reports: ["continue"] * len(reports))
    assert outcome.value == pytest.approx(trials[0].value, abs=1e-12)


@pytest.mark.slow
def test_a_team_is_trained_again_member_by_member(run):
    _, data, folder, trials = run
    parts = [
        Part(t.number, weight, model_of(folder, t))
        for t, weight in zip(trials, (0.5, 0.3, 0.2), strict=True)
    ]
    found = more_rows.refit_winner(parts, data, folder, trials[0], trials)
    model = Predictor(found.snapshot)
    assert model.members == {0: 0.5, 1: 0.3, 2: 0.2}
    probabilities = model.score_rows(found.data.val)
    assert model.metrics["val/average_precision"] == pytest.approx(
        verdict.judge(model, found.data).metrics["val"]["average_precision"]["value"]
    )
    assert len(probabilities) == found.summary["val_rows"]


def test_of_a_split_by_time_the_newer_half_stays_unseen(run):
    _, data, _, _ = run
    val = dataclasses.replace(data.val, time=np.arange(len(data.val))[::-1].copy())
    larger = more_rows.enlarged(dataclasses.replace(data, val=val))
    added = len(larger.train) - len(data.train)
    assert larger.train.time is None  # training's is not known here
    for label in (0.0, 1.0):
        newest = val.time[val.y == label].max()
        assert newest in larger.val.time
        assert larger.val.time[larger.val.y == label].min() >= np.median(val.time[val.y == label])
    assert added + len(larger.val) == len(data.val)


@pytest.mark.slow
def test_why_it_was_left_is_said_and_the_winner_of_the_search_is_kept(run, monkeypatch):
    _, data, folder, trials = run
    few = data.val.take(
        np.r_[np.flatnonzero(data.val.y == 1.0)[:12], np.flatnonzero(data.val.y == 0.0)]
    )
    found = more_rows.refit_winner(
        [Part(0, 1.0, model_of(folder, trials[0]))],
        dataclasses.replace(data, val=Rows(few.x_num, few.x_cat, few.y)),
        folder,
        trials[0],
        trials,
    )
    assert found.snapshot is None
    assert "a half of the validation rows has only" in found.summary["sentence"]
    monkeypatch.setattr(retraining, "seconds_allowed", lambda seconds: 0.0)
    monkeypatch.setattr(more_rows, "kept_model", lambda *args: None)
    told = judged(run)
    assert not told["refit"]["used"]
    assert "more than three times as long" in told["refit"]["sentence"]
    best = best_of(trials)
    assert told["best"]["val"]["average_precision"]["value"] == pytest.approx(best.value)
