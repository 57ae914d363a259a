"""Tests the team that a sweep ends with: real models, real files, real kills."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch

from jamba_ray.checkpoints.manifest import MANIFEST, parse
from jamba_ray.config.ensemble import EnsembleSection
from jamba_ray.config.run import SweepConfig
from jamba_ray.driver import team as module
from jamba_ray.driver import verdict
from jamba_ray.driver.team import halves_of, seek_team
from jamba_ray.inference import Predictor, load
from jamba_ray.reports.words import team_in_words
from tests.driver.team_run import keep, trained


def frame_of(n=2400, seed=0):
    """Returns rows of which trees learn steps and networks slopes, so that a team gains."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 11))
    score = 3.0 * np.sign(x[:, 0]) + 2.0 * (np.abs(x[:, 2]) > 0.6) + x[:, 3:].sum(axis=1)
    frame = pd.DataFrame(x, columns=[f"c{i}" for i in range(11)])
    frame["is_threat"] = (score + rng.logistic(size=n) > 0).astype(int)
    return frame


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    torch.set_num_threads(1)
    return trained(tmp_path_factory.mktemp("team"), frame_of())


def best_of(trials):
    return max(trials, key=lambda t: t.value)


def sought(run, **settings):
    config, data, folder, trials = run
    section = EnsembleSection(**settings)
    store = folder.checkpoint_store()
    return seek_team(section, data, store, best_of(trials), trials, config.objective)


def test_a_team_that_is_surely_better_is_the_winner(run):
    config, data, folder, trials = run
    found = verdict.of_winner(config, data, folder, best_of(trials), trials)
    team = found["team"]
    assert team["used"]
    assert team["gain"]["low"] > 0.0
    assert sum(member["weight"] for member in team["members"]) == pytest.approx(1.0)
    predictor = load(folder.best)
    assert set(predictor.members) == {member["trial"] for member in team["members"]}
    # What is said of the winner is said of the team: of these files, on these rows.
    value = found["best"]["test"]["average_precision"]["value"]
    judged = verdict.judge(predictor, data)
    assert judged.metrics["test"]["average_precision"]["value"] == pytest.approx(value, abs=1e-9)
    assert found["best"]["threshold"] == pytest.approx(predictor.threshold)
    assert value != team["single"]["test"]
    words = team_in_words(team, found["best"], config.objective)
    assert words.startswith("The team of trials ")
    assert " is better than trial " in words
    json.dumps(team, allow_nan=False)


def test_it_is_a_function_of_study_and_checkpoints(run):
    first, second = sought(run), sought(run)
    assert first.snapshot is not None
    assert second.snapshot is not None
    assert first.snapshot.documents == second.snapshot.documents
    assert first.snapshot.tensors.keys() == second.snapshot.tensors.keys()
    for name, array in first.snapshot.tensors.items():
        assert np.array_equal(array, second.snapshot.tensors[name])


def test_the_single_trial_is_kept_where_the_gain_is_noise(run, monkeypatch):
    config, data, folder, trials = run
    interval = {"value": 0.001, "low": -0.001, "high": 0.003}
    monkeypatch.setattr(module, "crossed_gain", lambda *_: interval)
    found = verdict.of_winner(config, data, folder, best_of(trials), trials)
    assert not found["team"]["used"]
    assert load(folder.best).members == {}
    words = team_in_words(found["team"], found["best"], config.objective)
    assert words.startswith("Equal within noise: a team of")
    assert words.endswith("was kept.")


def test_without_ensemble_none_is_sought(run):
    config, data, folder, trials = run
    tree = config.model_dump(mode="json")
    alone = SweepConfig.model_validate({**tree, "ensemble": False})
    found = verdict.of_winner(alone, data, folder, best_of(trials), trials)
    assert found["team"] is None
    assert load(folder.best).members == {}


def test_further_models_of_the_winner_are_candidates(run):
    config, data, folder, trials = run
    store, winner = folder.checkpoint_store(), best_of(trials)
    rows = module.some_rows(data.val)
    models = [store.load(t.checkpoint) for t in trials if t is not winner]
    seeds = [(model, Predictor(model).log_odds(rows)) for model in models]
    known = {winner.number: Predictor(store.load(winner.checkpoint)).log_odds(rows)}
    alone = seek_team(
        EnsembleSection(), data, store, winner, [winner], config.objective, seeds, known
    )
    assert alone.summary["candidates"] == [winner.number]
    assert alone.summary["variants"] == ["seed 1", "seed 2"]
    # The same models as trials give the same team.
    apart = sought(run).summary["members"]
    weights = (sorted(m["weight"] for m in team) for team in (alone.summary["members"], apart))
    assert next(weights) == next(weights)
    team = Predictor(alone.snapshot)
    assert dict(team.members) == {winner.number: pytest.approx(1.0)}
    assert team.n_models == len(apart)
    words = team_in_words(alone.summary, {"trial": winner.number}, config.objective)
    assert f"{winner.number} seed 1 (" in words


def test_limits_and_missing_candidates(run):
    _, _, folder, trials = run
    assert len(sought(run, max_members=2).summary["members"]) == 2
    slow = sought(run, max_latency_ms=1e-6)
    assert slow.snapshot is None
    assert len(slow.summary["members"]) == 1
    # A candidate that is gone, as in a run of an earlier version, costs only itself.
    winner = best_of(trials)
    gone = next(t for t in trials if t is not winner)
    path = folder.checkpoints / gone.checkpoint
    path.rename(path.with_name("aside"))
    try:
        assert gone.number not in sought(run).summary["candidates"]
    finally:
        path.with_name("aside").rename(path)


def test_too_few_rows_are_said(run):
    config, data, folder, trials = run
    few = module.Rows(data.val.x_num[:30], data.val.x_cat[:30], data.val.y[:30])
    small = type(data)(**{**data.__dict__, "val": few})
    winner = best_of(trials)
    store = folder.checkpoint_store()
    found = seek_team(EnsembleSection(), small, store, winner, trials, config.objective)
    assert found.snapshot is None
    words = team_in_words(found.summary, {"trial": winner.number}, config.objective)
    assert words.startswith("No team was sought, since a half of the validation rows has only")


def test_halves_follow_the_split(run):
    _, data, _, _ = run
    n = len(data.val)
    fields = (data.val.x_num, data.val.x_cat, data.val.y)
    timed = module.Rows(*fields, time=np.arange(n))
    assert np.arange(n)[halves_of(timed, data.train).second].mean() > n / 2
    hosts = np.array([f"h{i % 40}" for i in range(n)])
    grouped = module.Rows(*fields, group=hosts)
    train = module.Rows(data.train.x_num, data.train.x_cat, data.train.y)
    theirs = {**train.__dict__, "group": np.full(len(train), "other")}
    assert len(np.unique(halves_of(grouped, module.Rows(**theirs)).unit)) == 40
    # Groups that training has too were not held out: rows are drawn.
    theirs["group"] = np.full(len(train), "h1")
    assert len(np.unique(halves_of(grouped, module.Rows(**theirs)).unit)) == n


def test_many_rows_are_drawn_with_both_labels(run, monkeypatch):
    _, data, _, _ = run
    monkeypatch.setattr(module, "MOST_ROWS", 100)
    some = module.some_rows(data.val)
    assert len(some) == 100
    assert 0 < some.y.sum() <= 50
    assert np.array_equal(module.some_rows(data.val).y, some.y)


def test_a_truth_value_is_a_section():
    assert not EnsembleSection.model_validate(False).enabled
    assert EnsembleSection.model_validate(True) == EnsembleSection()


@pytest.mark.slow
def test_kill_9_while_it_is_built_ends_with_the_same_team(tmp_path):
    """Kills at the first, a middle and the last file of ``best/``; then runs to the end."""
    _, _, folder, trials = trained(tmp_path, frame_of())
    keep(trials, tmp_path)
    command = [sys.executable, "-m", "tests.driver.team_run", str(tmp_path)]

    def files():
        manifest = parse((folder.best / MANIFEST).read_bytes(), "best")
        return {name: entry.sha256 for name, entry in manifest.files.items()}

    subprocess.run(command, check=True)
    uninterrupted = files()
    assert "team.json" in uninterrupted
    for kill_at in (1, 4, len(uninterrupted) + 1):
        folder.best.rename(tmp_path / f"before-{kill_at}")
        assert subprocess.run([*command, str(kill_at)], check=False).returncode == -9
        assert not folder.best.exists()
        subprocess.run(command, check=True)
        assert files() == uninterrupted
        assert load(folder.best).members
