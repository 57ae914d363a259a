"""Stacks in the study: who is asked to join whom, what a kill leaves, and what it costs."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import pytest

from jamba_ray.config.run import TrialConfig
from jamba_ray.study import stacks
from jamba_ray.study.first_trials import FirstTrials
from jamba_ray.study.records import Paying, TrialOutcome
from jamba_ray.study.settings import report_rows
from jamba_ray.study.stacks import steps_to_come
from jamba_ray.training.schedule import Timetable
from tests.study import simulated
from tests.study.studies import TREE, line, open_study, space_of

ONE_STRUCTURE = {"training": TREE["training"]}


def structures(specs):
    return {tuple(s.structure.items()) for s in specs}


def end(study, *specs, value=0.5):
    for spec in specs:
        study.finish(TrialOutcome(spec.number, "complete", value=value))


def test_a_runner_is_filled_with_trials_of_the_first_ones_structure(tmp_path):
    study = open_study(tmp_path, n_trials=64, stack=4)
    first = study.ask("s/a").spec
    held = study.fill("s/a", 4)
    assert [s.number for s in held] == [0, 1, 2, 3]
    assert held[0] == first
    assert len(structures(held)) == 1
    assert len({s.params["training.rate"] for s in held}) == 4
    assert study.fill("s/a", 4) == held, "a reply that was lost changes nothing"
    study.close()


def test_free_slots_are_filled_again_up_to_the_stacks_share(tmp_path):
    """Of 64 trials a stack has 8 and one of the first eight 4; of one structure it goes on."""
    for tree, n_ended in ((TREE, 4), (ONE_STRUCTURE, 64)):
        study = open_study(tmp_path / str(n_ended), tree=tree, n_trials=64, stack=4)
        study.ask("s/a")
        seen = set()
        while held := study.fill("s/a", 4):
            seen |= {s.number for s in held}
            end(study, held[0])
        assert len(seen) == n_ended
        study.close()


def test_the_first_stacks_are_of_different_structures(tmp_path):
    study = open_study(tmp_path, tree=simulated.TREE, n_trials=64, stack=4)
    seen = []
    for i in range(8):
        study.ask(f"s/{i}")
        held = study.fill(f"s/{i}", 4)
        assert len(held) == 4
        seen += structures(held)
        end(study, *held)
    assert len(set(seen)) == 8
    study.close()


def test_a_runner_takes_no_more_than_its_share_of_what_is_left(tmp_path):
    study = open_study(tmp_path, tree=ONE_STRUCTURE, n_trials=12, runners=2, stack=10)
    study.ask("s/a"), study.ask("s/b")
    assert len(study.fill("s/a", 10)) == 1 + 5
    assert len(study.fill("s/b", 10)) == 1 + 3
    assert study.ask("s/c").spec is not None
    study.close()


def test_a_finite_space_is_not_tried_twice_in_stacks(tmp_path):
    tree = {
        "model": {"width": {"type": "categorical", "choices": [1, 2, 3]}},
        "training": {"rate": {"type": "categorical", "choices": [0.1, 0.2]}},
    }
    study = open_study(tmp_path, tree=tree, n_trials=20, stack=4)
    seen = []
    while (spec := study.ask(f"s/{len(seen)}").spec) is not None:
        held = study.fill(f"s/{len(seen)}", 4)
        assert spec in held
        seen += [tuple(s.params.values()) for s in held]
        end(study, *held)
    assert len(seen) == len(set(seen)) == 6
    study.close()


def test_what_was_enqueued_begins_a_stack_and_joins_none(tmp_path):
    wanted = ({"training.rate": 0.01}, {"training.rate": 0.02})
    study = open_study(tmp_path, n_trials=64, stack=4, first=FirstTrials(enqueued=wanted))
    assert study.ask("s/a").spec.params["training.rate"] == 0.01
    assert len(study.fill("s/a", 4)) == 1
    assert study.ask("s/b").spec.params["training.rate"] == 0.02
    assert len(study.fill("s/b", 4)) == 4
    study.close()


def test_after_a_lost_runner_each_trial_goes_on_alone(tmp_path):
    """One of them may have killed it, and would kill the others with it again."""
    study = open_study(tmp_path, n_trials=64, stack=4)
    study.ask("s/a")
    held = study.fill("s/a", 4)
    study.lost("s/a", "killed")
    for i, spec in enumerate(held):
        assert study.ask(f"s/{i}").spec.number == spec.number
        assert [s.number for s in study.fill(f"s/{i}", 4)] == [spec.number]
    study.lost("s/0", "killed")
    states = [r.state for r in study.records()]
    assert states == ["failed", "running", "running", "running"]
    study.close()


def test_a_stack_that_hung_is_gone_on_with_one_by_one(tmp_path):
    now = [0.0]
    study = open_study(tmp_path, n_trials=64, stack=2, hang_timeout_s=9.0, clock=lambda: now[0])
    study.ask("s/a")
    assert len(study.fill("s/a", 2)) == 2
    now[0] = 10.0
    study.lost("s/a", "killed")
    assert [r.state for r in study.records()] == ["running", "running"]
    study.ask("s/b")
    now[0] = 20.0
    study.lost("s/b", "killed")
    assert "hang_timeout_s" in study.records()[0].reason
    assert study.records()[1].state == "running"
    study.close()


def test_trials_that_a_driver_left_go_on_as_the_stack_that_they_were(tmp_path):
    study = open_study(tmp_path, n_trials=64, stack=4)
    study.ask("s/a")
    held = study.fill("s/a", 4)
    study.report([line(s.number, 1, 0.5) for s in held])
    end(study, held[1])
    study.close()
    again = open_study(tmp_path, n_trials=64, stack=4, session="t")
    first = again.ask("t/a").spec
    assert (first.number, first.step) == (0, 1)
    assert [s.number for s in again.fill("t/a", 4, new=False)] == [0, 2, 3]
    again.close()


def proposed(study):
    return [(r.number, r.params, r.state, r.curve) for r in study.records()]


@pytest.mark.parametrize("tree", [simulated.ONE_STRUCTURE, simulated.TREE], ids=["one", "many"])
def test_a_sweep_cut_at_every_boundary_proposes_what_it_would_have(tmp_path, tree):
    """A new session after each batch of reports, its trials taken up where the study has them."""
    settings = {"n_trials": 24, "stack": 3, "tree": tree}
    whole = open_study(tmp_path / "whole", **settings)
    simulated.train_all(whole, 3)
    cut = None
    for session in range(400):
        cut = open_study(tmp_path / "cut", session=f"c{session}", **settings)
        if not simulated.train_all(cut, 3, prefix=f"c{session}", boundaries=5):
            break
        cut.close()
    assert proposed(cut) == proposed(whole)
    assert session > 8
    cut.close()
    whole.close()


def test_a_measurement_is_kept_for_all_runners(tmp_path):
    study = open_study(tmp_path)
    assert study.packing("cpu: all") is None
    kept = study.keep_packing("cpu: all", Paying(8, 500, {"1": 10.0, "8": 60.0}))
    assert kept.size == 8
    assert kept.steps > 0
    assert study.keep_packing("cpu: all", Paying(4, 900)) == kept, "the first one stays"
    study.close()
    # Whether to compile follows from it, and must be the same after a resume on another machine.
    again = open_study(tmp_path, session="t")
    assert again.packing("cpu: all") == kept
    again.close()


def test_a_structure_is_compiled_where_the_steps_to_come_repay_it():
    rate = {"type": "float", "low": 1e-4, "high": 1e-1}
    space = space_of({"training": {"learning_rate": rate}})
    found = Paying(16, 766, compiled=(4, 4000))
    long = stacks.chosen(found, space, 128, 2, pruned=True)
    assert (long.size, long.steps) == (4, 128 * 766 // 2 // 2 // 4)
    assert stacks.chosen(found, space, 64, 2, pruned=True).size == 16
    asked = Paying(16, 766, compiled=(4, 0))
    assert stacks.chosen(asked, space, 2, 2, pruned=True).size == 4
    assert stacks.chosen(Paying(16, 766), space, 10_000, 2, pruned=True).size == 16


def test_steps_to_come_are_those_of_a_structure_in_a_runner():
    rate = {"type": "float", "low": 1e-4, "high": 1e-1}
    stackable = space_of({"training": {"learning_rate": rate}})
    pruned = steps_to_come(stackable, 128, 766, runners=2, size=16, pruned=True)
    assert pruned == 128 * 766 // 2 // 2 // 16
    assert steps_to_come(stackable, 128, 766, runners=2, size=16, pruned=False) == 2 * pruned
    widths = {"type": "categorical", "choices": [32, 64]}
    two = space_of({"training": {"learning_rate": rate}, "model": {"hidden_dim": widths}})
    assert steps_to_come(two, 128, 766, runners=2, size=16, pruned=False) == pruned
    many = {"type": "int", "low": 4, "high": 8000}
    each_its_own = space_of({"model": {"hidden_dim": many}})
    assert steps_to_come(each_its_own, 10, 766, runners=1, size=1, pruned=False) == 766


@pytest.mark.parametrize(
    ("asked", "n_trials", "runners", "most"),
    [
        ("auto", 128, 1, 8),
        ("auto", 128, 2, 8),
        ("auto", 128, 4, 4),
        ("auto", 24, 2, 1),
        (16, 12, 2, 16),
    ],
)
def test_how_many_train_at_a_time(asked, n_trials, runners, most):
    assert stacks.most_at_a_time(asked, n_trials, runners, stackable=True) == most
    assert stacks.most_at_a_time(asked, n_trials, runners, stackable=False) == 1


@pytest.mark.parametrize(
    ("begun", "runners", "begin_with", "now"),
    [
        (0, 2, None, 8),  # as was asked for
        (0, 2, 1, 1),
        (31, 2, 1, 1),
        (32, 2, 1, 2),
        (127, 2, 1, 7),
        (500, 2, 1, 8),
        (0, 1, 8, 8),  # a GPU: the startup trials
        (0, 4, 8, 2),
    ],
)
def test_stacks_grow_with_the_trials_begun(begun, runners, begin_with, now):
    assert stacks.at_a_time_now(8, begun, runners, begin_with) == now


def test_a_sweep_begins_trial_by_trial_and_its_stacks_grow(tmp_path):
    study = open_study(tmp_path, tree=ONE_STRUCTURE, n_trials=256, stack=16, begin_with=1)
    at_a_time = []
    for i in range(40):
        study.ask(f"s/{i}")
        held = study.fill(f"s/{i}", 16)
        at_a_time.append(len(held))
        end(study, *held)
    assert at_a_time[:15] == [1] * 15
    assert at_a_time == sorted(at_a_time)
    assert at_a_time[-1] == 16
    study.close()


def test_an_exploring_stack_is_small_unless_asked_for():
    space = space_of(TREE)
    assert stacks.trials_in_stack(space, 64, 8, exploring=True) == 4
    assert stacks.trials_in_stack(space, 64, 8, exploring=False) == 8
    assert stacks.trials_in_stack(space, 64, 32, exploring=True) == 32


def test_quality_at_equal_budget():
    """16 trials in stacks of 2 against trial by trial, 20 seeds: the mean winner is worse by less
    than two standard errors, at no more reports. Larger sweeps: tests/benchmarks/stack_quality.md.
    """
    differences, reports = [], [0, 0]
    for seed in range(20):
        with simulated.folder() as folder:
            alone, stacked = (
                simulated.sweep(
                    Path(folder, str(size)),
                    size=size,
                    seed=seed,
                    n_trials=16,
                    tree=simulated.ONE_STRUCTURE,
                )
                for size in (1, 2)
            )
        differences.append(stacked.best - alone.best)
        reports = [reports[0] + alone.reports, reports[1] + stacked.reports]
    mean = sum(differences) / len(differences)
    error = math.sqrt(sum((d - mean) ** 2 for d in differences)) / len(differences)
    assert mean > -2 * error
    assert reports[1] < 1.1 * reports[0]


def test_trials_that_joined_late_report_with_the_others():
    """Reports fall on whole batches, so that all intervals are alike, wherever a trial began."""
    base = TrialConfig.model_validate(
        {"model": {"name": "mlp"}, "training": {"batch_size": 128, "epochs": 4}}
    )
    every = report_rows(base, 24_500)
    assert every == 48 * 128
    training = base.training.model_copy(update={"report_rows": every})
    table = Timetable.of(training, 24_500)
    ends = [table.next_report(step, 0) for step in range(1, table.n_reports)]
    assert {b - a for a, b in itertools.pairwise(ends)} == {48}
    large = base.model_copy(
        update={"training": base.training.model_copy(update={"batch_size": 4096})}
    )
    assert report_rows(large, 24_500) == 6125, (
        "two batches instead of one and a half are no rounding"
    )
    asked = base.training.model_copy(update={"report_rows": 1000})
    assert report_rows(base.model_copy(update={"training": asked}), 24_500) == 1000
