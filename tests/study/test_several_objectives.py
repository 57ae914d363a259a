"""A study with several objectives: rungs, limits, its front, and all of it after a resume."""

from __future__ import annotations

import subprocess
import sys

import pytest

from jamba_ray.config.limit import parsed
from jamba_ray.config.search import SamplerSection
from jamba_ray.errors import ConfigError
from jamba_ray.study import front_rungs
from jamba_ray.study.records import ReportLine, TrialOutcome
from tests.study.studies import curve, open_study, plain

TREE = {
    "model": {"width": {"type": "int", "low": 8, "high": 64}},
    "training": {"rate": {"type": "float", "low": 1e-4, "high": 1e-1, "log": True}},
}


def study_in(folder, **changes):
    given = {"tree": TREE, "further": ("latency_ms",), "n_trials": 16, **changes}
    return open_study(folder, **given)


def lines_of(spec) -> list[ReportLine]:
    """The reports of a trial, in which what is wider is better and slower."""
    cost = float(spec.params["model.width"])
    values = [v + cost / 400 for v in curve(spec.params, spec.number)]
    return [ReportLine(spec.number, i, v, further=(cost,)) for i, v in enumerate(values, 1)]


def train(study, spec) -> None:
    for line in lines_of(spec):
        if study.report([line]) == ["prune"]:
            study.finish(TrialOutcome(spec.number, "pruned", value=line.value))
            return
    (cost,), value = line.further, line.value
    metrics = {"latency_ms": cost, "val/ece": value / 10}
    study.finish(TrialOutcome(spec.number, "complete", value=value, metrics=metrics))


def course(folder, *, reopens: bool, **changes):
    """Parameters, state and values of each trial."""
    study = study_in(folder, **changes)
    while (spec := study.ask(f"s/{len(study.records())}").spec) is not None:
        train(study, spec)
        if reopens:
            study.close()
            study = study_in(folder, **changes)
    found = [(t.params, t.state, t.values) for t in study.records()]
    study.close()
    return found


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "random"])
def test_a_resumed_sweep_goes_on_as_the_uninterrupted_one(tmp_path, sampler):
    section = SamplerSection(name=sampler, n_startup_trials=5, population_size=4)
    straight = course(tmp_path / "a", reopens=False, sampler=section)
    assert course(tmp_path / "b", reopens=True, sampler=section) == straight
    assert {state for _, state, _ in straight} == {"complete", "pruned"}


KILLED = """
import os, signal, sys
from pathlib import Path
from tests.study.test_several_objectives import lines_of, study_in, train
study = study_in(Path(sys.argv[1]), session=sys.argv[2])
for n in range(int(sys.argv[3])):
    spec = study.ask(f"{sys.argv[2]}/{n}").spec
    train(study, spec)
    print(spec.number, flush=True)
spec = study.ask(f"{sys.argv[2]}/last").spec
for line in lines_of(spec)[: int(sys.argv[4])]:
    study.report([line])
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.slow
def test_kill_9_loses_nothing_and_repeats_nothing(tmp_path):
    """Three real SIGKILLs in the middle of trials; the whole equals an uninterrupted sweep."""
    whole = course(tmp_path / "whole", reopens=False)
    finished: list[int] = []
    for i, (after, reports) in enumerate([(3, 1), (4, 2), (2, 1)]):
        run = subprocess.run(
            [sys.executable, "-c", KILLED, str(tmp_path / "k"), f"k{i}", str(after), str(reports)],
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert run.returncode == -9, run.stderr
        finished += map(int, run.stdout.split())
    assert len(finished) == len(set(finished)) == 9, "a finished trial was run again"
    study = study_in(tmp_path / "k", session="last")
    states = {t.number: t.state for t in study.records()}
    assert all(states[number] != "running" for number in finished)
    while (spec := study.ask(f"last/{len(study.records())}").spec) is not None:
        train(study, spec)
    assert [(t.params, t.state, t.values) for t in study.records()] == whole
    study.close()


def test_rungs_that_are_forgotten_on_resume_are_found_out(tmp_path, monkeypatch):
    straight = course(tmp_path / "a", reopens=False)
    make = front_rungs.FrontRungs.__init__
    monkeypatch.setattr(
        front_rungs.FrontRungs, "__init__", lambda self, *args: make(self, *args[:3])
    )
    assert course(tmp_path / "b", reopens=True) != straight


def test_any_optuna_opens_it_with_its_front(tmp_path):
    found = course(tmp_path, reopens=False)
    study = plain(tmp_path / "study.journal")
    assert [d.name for d in study.directions] == ["MAXIMIZE", "MINIMIZE"]
    front = {trial.number for trial in study.best_trials}
    again = study_in(tmp_path)
    kept, _ = again.standing(1)
    assert front <= {*kept} == front | {again.progress().best.number}
    again.close()
    assert front < {n for n, (_, state, _) in enumerate(found) if state == "complete"}


def test_what_breaks_a_limit_ranks_behind_what_keeps_it(tmp_path):
    limits = (parsed("latency_ms < 30"), parsed("ece <= 0.5"))
    study = study_in(tmp_path, further=(), limits=limits, n_trials=3)
    for value, cost in ((0.9, 50.0), (0.5, 20.0), (0.7, 30.0)):
        spec = study.ask(f"s/{value}").spec
        metrics = {"latency_ms": cost, "val/ece": 0.1}
        study.finish(TrialOutcome(spec.number, "complete", value=value, metrics=metrics))
    assert study.progress().best.number == 1
    assert [t.violation > 0 for t in study.records()] == [True, False, True]
    study.close()
    assert plain(tmp_path / "study.journal").best_trial.number == 1


def test_a_trial_whose_measure_is_not_known_fails(tmp_path):
    study = study_in(tmp_path)
    spec = study.ask("s/0").spec
    study.finish(TrialOutcome(spec.number, "complete", value=0.5))
    assert study.records()[0].reason == "its latency_ms is not known"
    study.close()


def test_other_objectives_are_another_study(tmp_path):
    study_in(tmp_path).close()
    with pytest.raises(ConfigError, match="begun to maximize, minimize"):
        study_in(tmp_path, further=())


def test_what_is_not_known_yet_counts_as_the_best():
    rungs = front_rungs.FrontRungs(1, 2, ("maximize", "minimize"))
    for number, values in enumerate([[0.5, 3.0], [0.6, 4.0], [0.7, 5.0]]):
        rungs.reached(number, {"completed_rung_0": values})
    assert rungs._goes_on([0.7, None], [[0.5, 3.0], [0.6, 4.0], [0.7, 5.0]])
    assert not rungs._goes_on([0.4, 5.0], [[0.5, 3.0], [0.6, 4.0], [0.7, 5.0]])
