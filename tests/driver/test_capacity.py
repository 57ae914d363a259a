"""A sweep for which no machine has a place says so, once, and says when one is there."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from jamba_ray.cluster.nodes import places
from jamba_ray.cluster.resources import Machine, plan_runners
from jamba_ray.driver.capacity import MachineWatch
from jamba_ray.study.records import RunningTrial, SweepProgress
from tests.cli.test_display import display_on

RUNNER = RunningTrial(0, {}, step=0, rows_seen=0, epoch=0.0, value=None, seconds=0.0)
PROGRESS = SweepProgress(
    n_trials=4,
    counts={"running": 1},
    best=None,
    running=(RUNNER,),
    finished=(),
    failures={},
    elapsed_s=1.0,
    goodput_s=0.0,
    runners=1,
    ended=None,
)


def node(cpus: float, gpus: float = 0, alive: bool = True):
    return {"Alive": alive, "Resources": {"CPU": cpus, "GPU": gpus}}


def test_places_are_counted_machine_by_machine():
    assert places([], {"CPU": 1}) == 0
    assert places([node(8, 1)], {"CPU": 2, "GPU": 1.0}) == 1
    assert places([node(8, 1)], {"CPU": 2, "GPU": 0.25}) == 4
    assert places([node(3), node(3)], {"CPU": 2}) == 2, "a runner does not lie over two machines"
    assert places([node(8, 1, alive=False), node(8)], {"CPU": 1, "GPU": 1.0}) == 0


class _Scene:
    """A watch with a clock and machines to set."""

    def __init__(self, machine: Machine, workers: int = 1) -> None:
        self.now, self.nodes, self.shown = 0.0, [node(0)], []
        plan = plan_runners(machine, max_concurrent=1, workers_per_trial=workers)
        self.watch = MachineWatch(
            self.shown.append, plan, look=lambda: self.nodes, clock=lambda: self.now
        )

    def after(self, seconds: float, progress: SweepProgress = PROGRESS) -> str | None:
        """What it says once so long has passed, at half a second a look."""
        for _ in range(int(2 * seconds)):
            self.now += 0.5
            self.watch(progress)
        return self.shown[-1].trouble


def test_no_machine_is_said_after_a_while_and_no_longer_once_one_is_there():
    scene = _Scene(Machine(cpus=8, gpus=1))
    assert scene.after(9) is None
    assert scene.after(20) == (
        "no machine has a place for a runner (8 CPUs and 1 GPU): waiting for the cluster, 28 s"
    )
    scene.nodes = [node(0), node(8, 1)]
    assert scene.after(6) is None
    # A spot machine is taken back in the middle of a trial, at its third report.
    moved = replace(PROGRESS, running=(replace(RUNNER, step=3),))
    scene.nodes = [node(0), node(8, 1, alive=False)]
    assert scene.after(9, moved) is None
    assert "no machine" in str(scene.after(10, moved))


def test_a_slow_trial_is_not_taken_for_a_missing_machine():
    scene = _Scene(Machine(cpus=1))
    scene.nodes = [node(1)]
    assert scene.after(600) is None


def test_workers_of_a_group_are_all_needed():
    scene = _Scene(Machine(cpus=2), workers=2)
    scene.nodes = [node(1)]
    assert "for a runner's 2 workers (1 CPU)" in str(scene.after(30))
    scene.nodes = [node(1), node(1)]
    assert scene.after(30) is None


@pytest.mark.parametrize("other", [{"trouble": "the store refuses"}, {"ended": "stopped"}])
def test_it_does_not_speak_over_what_else_there_is(other):
    scene = _Scene(Machine(cpus=1))
    assert scene.after(30, replace(PROGRESS, **other)) == other.get("trouble")


def test_the_display_says_it_once_and_says_when_it_is_over(tmp_path):
    scene, written = _Scene(Machine(cpus=1)), io.StringIO()
    console = Console(file=written, force_terminal=False)
    display = display_on(console, tmp_path)
    scene.watch._watch = display
    for _ in range(80):
        scene.now += 0.5
        scene.watch(PROGRESS)
    scene.nodes = [node(1)]
    for _ in range(20):
        scene.now += 0.5
        scene.watch(PROGRESS)
    first, second = [x for x in written.getvalue().splitlines() if not x.startswith("training ")]
    assert first.startswith("no machine has a place for a runner (1 CPU): waiting")
    assert second == "a machine is there"
