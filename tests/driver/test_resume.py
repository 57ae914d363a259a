"""A killed and resumed sweep: nothing lost, nothing run twice, the same suggestions."""

from __future__ import annotations

import random
import subprocess
import sys

import pytest

from jamba_ray.config.budget import Limit
from jamba_ray.config.search import SamplerSection
from jamba_ray.study.first_trials import FirstTrials
from tests.study.studies import line, open_study, run_to_end, train

FIRST = FirstTrials(
    {"model.width": 8, "training.rate": 3e-4}, ({"model.width": 16}, {"training.rate": 3e-3})
)
"""Also these are outside the rungs, and none is begun twice."""
KILLED = """
import os, signal, sys
from pathlib import Path
from tests.study.studies import open_study, train
from tests.driver.test_resume import FIRST
study = open_study(Path(sys.argv[1]), session=sys.argv[2], n_trials=24, first=FIRST)
stop_after = int(sys.argv[3])
done = 0
while (spec := study.ask(f"{sys.argv[2]}/{done}").spec) is not None:
    print("asked", spec.number, flush=True)
    if done < stop_after:
        train(study, spec)
    elif not train(study, spec, stop=int(sys.argv[4])):
        os.kill(os.getpid(), signal.SIGKILL)
    print("finished", spec.number, flush=True)
    done += 1
"""


def finished_as(study):
    return [(r.number, r.params, r.state, r.value, r.curve) for r in study.records()]


@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc", "gp"])
def test_the_same_trials_are_proposed_after_closing_and_reopening(tmp_path, sampler):
    """At concurrency 1; sabotage twin: a sampler with state of its own, below."""
    section = SamplerSection(name=sampler, n_startup_trials=4)
    whole = open_study(tmp_path / "a", sampler=section, n_trials=10)
    run_to_end(whole)
    for i in range(10):
        study = open_study(tmp_path / "b", sampler=section, n_trials=10, session=f"s{i}")
        train(study, study.ask(f"s{i}/x").spec)
        study.close()
    parts = open_study(tmp_path / "b", sampler=section, n_trials=10, session="last")
    assert finished_as(parts) == finished_as(whole)
    whole.close()
    parts.close()


def test_a_sampler_with_state_of_its_own_would_not_pass(tmp_path, monkeypatch):
    from jamba_ray.study import sampling

    class Stateful(random.Random):
        pass

    state = Stateful(0)
    seeds = lambda seed, number, draw: state.randrange(2**32)  # noqa: E731
    monkeypatch.setattr(sampling, "trial_seed", seeds)
    whole = open_study(tmp_path / "a", n_trials=6)
    run_to_end(whole)
    state.seed(1)
    parts = open_study(tmp_path / "b", n_trials=6)
    run_to_end(parts)
    assert finished_as(parts) != finished_as(whole)
    whole.close()
    parts.close()


def test_kill_9_loses_nothing_and_repeats_nothing(tmp_path):
    """Three real SIGKILLs in the middle of trials; the whole equals an uninterrupted sweep."""
    whole = open_study(tmp_path / "whole", n_trials=24, first=FIRST)
    run_to_end(whole)
    folder = tmp_path / "killed"
    acknowledged: list[int] = []
    for session, (after, step) in enumerate([(2, 1), (3, 3), (1, 1)]):
        run = subprocess.run(
            [sys.executable, "-c", KILLED, str(folder), f"k{session}", str(after), str(step)],
            capture_output=True,
            text=True,
            timeout=120,
        )
        lines = [line.split() for line in run.stdout.splitlines()]
        assert run.returncode == -9, run.stderr
        acknowledged += [int(number) for word, number in lines if word == "finished"]
    assert len(acknowledged) == len(set(acknowledged)), "a finished trial was run again"
    study = open_study(folder, session="last", n_trials=24, first=FIRST)
    begun = {r.number: r.state for r in study.records()}
    assert all(begun[number] != "running" for number in acknowledged)
    unfinished = [number for number, state in begun.items() if state == "running"]
    first = study.ask("last/0").spec
    assert [first.number] == unfinished
    assert first.resumed
    train(study, first)
    run_to_end(study, "last")
    assert finished_as(study) == finished_as(whole)
    origins = [r.origin for r in study.records()]
    assert origins == ["defaults", "enqueue", "enqueue", *[None] * 21]
    study.close()
    whole.close()


def test_rungs_are_as_if_nothing_had_happened(tmp_path):
    """Reports made again after a crash from an older checkpoint get the answers of before."""
    study = open_study(tmp_path, n_trials=6)
    for i in range(5):
        train(study, study.ask(f"s/{i}").spec)
    last = study.ask("s/5").spec
    lines = [line(last.number, step, 0.9 + step / 100) for step in (1, 2, 3)]
    assert [study.report([one]) for one in lines] == [["continue"]] * 3
    before = study._study.trials[last.number].system_attrs
    assert before == {"completed_rung_0": 0.93}
    study.close()
    again = open_study(tmp_path, n_trials=6, session="t")
    spec = again.ask("t/0").spec
    assert spec.number == last.number
    assert [again.report([one]) for one in lines] == [["continue"]] * 3
    assert again._study.trials[spec.number].system_attrs == before
    again.close()


def test_a_time_budget_spans_sessions(tmp_path):
    import time

    start = time.time()
    now = [start - 1000.0]
    study = open_study(tmp_path, limit=Limit(900.0, "the budget"), clock=lambda: now[0])
    train(study, study.ask("s/a").spec)  # its event is stamped by the wall clock, 1000 s later
    study.close()
    now[0] = start + 5000.0
    late = open_study(tmp_path, limit=Limit(900.0, "the budget"), session="t", clock=lambda: now[0])
    assert "the budget is used up" in late.ask("t/a").ended
    late.close()
    more = open_study(
        tmp_path, limit=Limit(2000.0, "the budget"), session="u", clock=lambda: now[0]
    )
    assert more.ask("u/a").spec is not None
    more.close()


def test_a_restarted_server_keeps_the_trials_of_its_session(tmp_path):
    study = open_study(tmp_path)
    mine, lost = study.ask("s/a").spec, study.ask("s/b").spec
    study.lost("s/b", "killed")
    study.close()
    again = open_study(tmp_path)
    assert again.ask("s/a").spec.number == mine.number
    assert again.ask("s/c").spec.number == lost.number
    assert again.ask("s/d").spec.number == 2
    again.close()
