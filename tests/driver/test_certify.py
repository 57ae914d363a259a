"""Tests that the best configurations are trained again: real models, real files, real kills."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch

from jamba_ray.checkpoints import read_checkpoint
from jamba_ray.config.certify import CertifySection
from jamba_ray.config.run import TrialConfig
from jamba_ray.driver import retraining
from jamba_ray.driver.certify import Certification, distinct, is_seeded, replaces
from jamba_ray.evaluation.certainty import Compared
from jamba_ray.reports.certificate import certified_in_words
from tests.driver.team_run import keep, record, trained
from tests.driver.test_team import best_of, frame_of

AP = "average_precision"


def trial(number, value, **params):
    return dataclasses.replace(record(number, "mlp", value, 1, f"t{number}"), params=params)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    torch.set_num_threads(1)
    place = tmp_path_factory.mktemp("certify")
    settings = {"training": {"epochs": 1, "batch_size": 64}}
    config, data, folder, trials = trained(place, frame_of(900), **settings)
    return config, data, folder, [dataclasses.replace(t, goodput_s=0.1) for t in trials]


def told(run, trials=None, data=None, **settings):
    """Certifies ``trials``; returns (the winner's number, the certification, its sentences)."""
    _, own, folder, known = run
    trials, data = trials or known, data or own
    section = CertifySection(**{"max_share": 1000.0, "seeds": 3, "margin": 0.5, **settings})
    certification = Certification(section, AP, data, folder, trials, search_s=100.0)
    taken = certification.winner(best_of(trials))
    found = certification.summary()
    json.dumps(found, allow_nan=False)
    return taken.number, found, certified_in_words(found, AP)


def test_the_cheaper_of_two_equal_ones_is_the_winner(run, monkeypatch):
    """LightGBM is best and needs no seeds; with such a margin a network is as good, and cheaper
    where it says so."""
    _, _, folder, trials = run
    best = best_of(trials)
    dear = [dataclasses.replace(t, goodput_s=9.0) if t is best else t for t in trials]
    number, found, words = told(run, dear)
    (compared,) = found["comparisons"]
    assert compared["verdict"] == "equal"
    assert compared["taken"] == found["taken"] == number != best.number
    assert found["leader"] == best.number
    assert "the cheaper one, was taken." in words[0]
    assert compared["seeds"] == [0, 3]
    # Of models that were trained again nothing is kept but what scores.
    kept = sorted(path.name for path in folder.certify.glob("trial-*"))
    assert kept == [f"trial-{number}-seed-{seed}" for seed in (1, 2, 3)]
    _, snapshot = read_checkpoint(folder.certify / kept[0])
    assert all(name.startswith("model/") for name in snapshot.tensors)
    # A second call trains nothing, and reads each model once whatever the looks.
    reads = []
    monkeypatch.setattr(
        retraining, "read_checkpoint", lambda path: reads.append(path) or read_checkpoint(path)
    )
    before = {path: path.stat().st_mtime_ns for path in folder.certify.glob("trial-*/*")}
    assert told(run, dear)[1] == found
    assert {path: path.stat().st_mtime_ns for path in folder.certify.glob("trial-*/*")} == before
    assert sorted(path.name for path in reads) == kept


def test_no_time_is_said_with_the_setting_that_gives_it(run):
    shutil.rmtree(run[2].certify, ignore_errors=True)
    slow = [dataclasses.replace(t, goodput_s=50.0) for t in run[3]]
    number, found, words = told(run, slow, max_share=0.1)
    assert number == best_of(run[3]).number
    assert found["comparisons"][0]["why"] == "budget"
    assert "`certify.max_share=0.1` of the search allows; `certify.max_share=1.5` does." in words[0]


def test_a_machine_that_is_too_slow_is_said_and_not_tried_again(run, monkeypatch):
    shutil.rmtree(run[2].certify, ignore_errors=True)
    monkeypatch.setattr(retraining, "_LEAST_S", 0.0)
    fast = [dataclasses.replace(t, goodput_s=1e-9) for t in run[3]]
    number, found, words = told(run, fast)
    assert number == best_of(run[3]).number
    assert found["comparisons"][0]["why"] == "failed"
    assert words[0].endswith("on this machine it takes more than 3 times as long as in the search.")
    again = told(run, fast)[1]
    assert again["seconds"] == found["seconds"]  # nothing was trained


def test_one_trial_and_few_threats_are_said(run):
    _, _, words = told(run, [best_of(run[3])])
    assert words[0].startswith("Not certified: no other configuration was trained to its end")
    y = run[1].val.y * 0
    y[:5] = 1.0
    few = dataclasses.replace(run[1], val=dataclasses.replace(run[1].val, y=y))
    _, _, words = told(run, data=few)
    assert words[0].startswith("Not certified: the validation part has only 5 threats")


def test_a_truth_value_is_a_section():
    assert not CertifySection.model_validate(False).enabled
    assert CertifySection.model_validate(True) == CertifySection()


def test_other_configurations_only():
    trials = [
        trial(0, 0.9, a=1, seed=1),
        trial(1, 0.8, a=1, seed=2),
        trial(2, 0.7, a=2),
        dataclasses.replace(trial(3, 0.95, a=3), state="pruned"),
        trial(4, float("nan"), a=4),
        trial(5, 0.75, a=5),
    ]
    assert [t.number for t in distinct(trials[0], trials, AP, 2)] == [5, 2]
    assert [t.number for t in distinct(trials[0], trials, "log_loss", 1)] == [2]


def test_what_needs_no_seeds():
    def config(**model):
        return TrialConfig.model_validate({"model": model})

    assert not is_seeded(config(name="lightgbm"))
    assert is_seeded(config(name="lightgbm", subsample=0.8))
    assert not is_seeded(config(name="logistic"))
    assert is_seeded(config(name="random_forest"))


def test_another_is_taken_only_for_a_reason():
    def found(verdict):
        return Compared(0.0, -0.1, 0.1, verdict, False)

    assert replaces(found("worse"), 1.0, 9.0)
    assert replaces(found("equal"), 9.0, 1.0)
    assert replaces(found("not_better"), 9.0, 1.0)
    assert not replaces(found("equal"), 1.0, 1.0)
    assert not replaces(found("better"), 9.0, 1.0)
    assert not replaces(found("open"), 9.0, 1.0)
    assert not replaces(None, 9.0, 1.0)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_kill_9_while_it_trains_ends_with_the_same_answer_and_repeats_nothing(tmp_path):
    _, _, folder, trials = trained(tmp_path, frame_of())
    keep(trials, tmp_path)
    command = [sys.executable, "-m", "tests.driver.certify_run", str(tmp_path)]

    def outcome(*more):
        done = subprocess.run([*command, *more], capture_output=True, text=True, check=False)
        lines = done.stdout.splitlines()
        told = [json.loads(line) for line in lines if line.startswith("{")]
        for one in [c for t in told for c in t["certification"]["comparisons"]]:
            one["b"].pop("seconds")  # of a default model, which is trained anew
        return done.returncode, [line for line in lines if line.startswith("trained")], told

    code, names, (answer,) = outcome()
    assert code == 0
    assert len(names) == len(set(names)) >= 3
    folder.certify.rename(tmp_path / "certify-before")
    folder.best.rename(tmp_path / "best-before")
    code, first, _ = outcome("2")
    assert code == -9
    code, second, (resumed,) = outcome()
    assert code == 0
    assert sorted([*first, *second]) == sorted(names)  # nothing twice
    for told in (answer, resumed):
        told["certification"].pop("seconds")
    assert resumed == answer


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_sweep_killed_while_it_certifies_is_resumed(tmp_path):
    frame_of(1500).to_csv(tmp_path / "rows.csv", index=False)
    settings = ["data=table", "data.path=rows.csv", "model=mlp", "training.epochs=8", "run=run"]
    settings += [
        "n_trials=4",
        "certify.max_share=100",
        "certify.margin=0.1",
        "max_concurrent=1",
        "pruner.name=none",
    ]
    settings += ["search_space.model.hidden_dim={type:categorical,choices:[16,128]}"]
    command = [sys.executable, "-m", "jamba_ray.sweep", *settings]
    place = tmp_path / "runs" / "run"
    sweep = subprocess.Popen(command, cwd=tmp_path, start_new_session=True)
    while not (kept := sorted(place.glob("certify/trial-*/manifest.json"))):
        assert sweep.poll() is None, "it ended before it could be killed"
        time.sleep(0.05)
    os.killpg(sweep.pid, signal.SIGKILL)
    sweep.wait()
    trained = {path: path.stat().st_mtime_ns for path in kept}
    before = json.loads((place / "summary.json").read_text())
    assert before["status"] == "running"
    done = subprocess.run([*command, "resume=true"], cwd=tmp_path, check=False)
    assert done.returncode == 0
    found = json.loads((place / "summary.json").read_text())
    assert found["certification"]["sentences"]
    assert found["certification"]["comparisons"][0]["seeds"] != [0, 0]
    assert all(path.stat().st_mtime_ns == at for path, at in trained.items())
