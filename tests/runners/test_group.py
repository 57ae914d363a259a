"""A Ray Train group: real processes, real signals; equal to one process whatever happens to it."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from jamba_ray.checkpoints import CheckpointStore
from jamba_ray.driver.open_runner import open_runner
from jamba_ray.errors import TrialError, UnavailableError
from jamba_ray.runs.run_folder import RunFolder
from jamba_ray.training import Member, fit
from tests.training.trials import Recorder, make_config, make_data

ray = pytest.importorskip("ray")

MODEL = {"norm": "layer", "dropout_rate": 0.2}
FIELDS = {"epochs": 6, "learning_rate": 1e-2, "report_rows": 300, "batch_size": 32}
TOLERANCE = 2e-5


@pytest.fixture(scope="module")
def data():
    return make_data()


@pytest.fixture(scope="module")
def expected(data):
    recorder = Recorder()
    (outcome,) = fit([trial()], data, recorder)
    return recorder, outcome


@pytest.fixture(scope="module")
def session():
    """One Ray for all groups here."""
    from jamba_ray.cluster.resources import Machine
    from jamba_ray.driver.ray_session import ray_session

    with ray_session(machine=Machine(2)) as opened:
        yield opened


@pytest.fixture(scope="module")
def told() -> dict[int, int]:
    """Trial -> step of the newest checkpoint that the group told of."""
    return {}


@pytest.fixture(scope="module")
def group(session, told, tmp_path_factory):
    """Like a runner's: one for all trials, started again where a test kills it."""
    from jamba_ray.runners.group import Group

    folder = RunFolder(tmp_path_factory.mktemp("group") / "run").create()
    made = Group(folder, workers=2, saved=told.__setitem__)
    yield made
    made.close()
    assert nothing_left()


def trial(number: int = 0, model=MODEL, **fields) -> Member:
    return Member(number, make_config(model, **{**FIELDS, **fields}))


def ranks() -> list[int]:
    """Process ids of the Ray Train workers below this process (others may run on this machine)."""
    return sorted(p for p in map(int, filter(str.isdigit, os.listdir("/proc"))) if is_rank(p))


def is_rank(process: int) -> bool:
    try:
        if b"RayTrainWorker" not in Path(f"/proc/{process}/cmdline").read_bytes():
            return False
        while process > 1 and process != os.getpid():
            process = int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return False
    return process == os.getpid()


def nothing_left() -> bool:
    """No rank and no placement group that holds CPUs."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        free = ray.available_resources().get("CPU", 0) == ray.cluster_resources()["CPU"]
        if free and not ranks():
            return True
        time.sleep(0.2)
    return False


def is_equal(recorder, outcome, expected) -> bool:
    """Each report once, in order, with the values of one process; equal weights at the end."""
    whole, alone = expected
    if [r.step for r in recorder.reports] != [r.step for r in whole.reports]:
        return False
    near = [
        np.allclose([*a.metrics.values()], [*b.metrics.values()], atol=TOLERANCE)
        for a, b in zip(recorder.reports, whole.reports, strict=True)
    ]
    tensors = outcome.checkpoint.tensors
    return all(near) and all(
        np.allclose(tensors[n], t, atol=TOLERANCE) for n, t in alone.checkpoint.tensors.items()
    )


class KillAt(Recorder):
    """Kills a rank while it trains on, after report ``step``."""

    def __init__(self, step: int, subject: int, number=signal.SIGKILL) -> None:
        super().__init__()
        self.step, self.subject, self.number = step, subject, number
        self.killed_at = self.back_at = None

    def __call__(self, reports):
        if self.killed_at is not None and self.back_at is None:
            self.back_at = time.monotonic()
        if self.killed_at is None and reports[0].step == self.step:
            found = ranks()
            assert len(found) == 2
            threading.Timer(0.02, os.kill, [found[self.subject], self.number]).start()
            self.killed_at = time.monotonic()
        return super().__call__(reports)


def orphans(folder: RunFolder) -> list[Path]:
    """What is neither a committed checkpoint nor its trial's folder."""
    store = CheckpointStore(folder.checkpoints)
    whole = {folder.checkpoints / entry.path for entry in store.entries()}
    found = set(folder.checkpoints.glob("*/*")) | set(folder.checkpoints.glob("*/.*"))
    return sorted(found - whole)


@pytest.mark.slow
def test_trials_one_after_the_other_in_one_group_equal_one_process(group, told, data, expected):
    for number in (0, 9):
        recorder = Recorder()
        (outcome,) = group.fit([trial(number, seed=0)], data, recorder)
        assert is_equal(recorder, outcome, expected)
        (newest, *_) = reversed(CheckpointStore(group._folder.checkpoints).entries(number))
        assert told[number] == newest.step, "what rank 0 saves is told: its loss would be noticed"
    assert group.starts == 1
    ended = []
    (pruned,) = group.fit(
        [trial(1)], data, Recorder(lambda r: "prune"), finish=ended.append, join=lambda: []
    )
    assert pruned.state == "pruned"
    assert ended == [pruned], "called as `fit` is: a stack's runner trains on both"


@pytest.mark.slow
def test_a_killed_rank_costs_no_report(group, data, expected):
    recorder, before = KillAt(5, subject=1), group.starts
    (outcome,) = group.fit([trial(2, seed=0)], data, recorder)
    assert is_equal(recorder, outcome, expected)
    assert group.starts <= before + 2
    assert recorder.back_at is not None, "it went on after the kill"
    assert orphans(group._folder) == []


def test_a_fault_of_the_trial_is_told_and_not_tried_again(group, data):
    """Codes beyond the table raise in the embedding, on the rank that has such a row."""
    rows = data.train
    # Alone, this test starts the group; after others it is there.
    broken, before = rows.x_cat.copy(), max(group.starts, 1)
    broken[7] = 99
    bad = make_data()
    object.__setattr__(bad, "train", type(rows)(rows.x_num, broken, rows.y))
    with pytest.raises(TrialError, match=r"index out of range"):
        group.fit([trial(3)], bad, Recorder())
    assert group.starts == before


def test_more_workers_than_there_are_is_refused_before_anything_starts(tmp_path, data):
    begun = time.monotonic()
    with (
        pytest.raises(UnavailableError, match=r"`workers` must be at most \d+, but is 4000"),
        open_runner(RunFolder(tmp_path), data, workers=4000),
    ):
        pass
    assert time.monotonic() - begun < 10


@pytest.mark.slow
def test_a_killed_rank_costs_no_report_where_ray_train_is_as_it_comes(
    session, data, expected, tmp_path, monkeypatch
):
    """Without what is replaced in Ray Train a group goes on too, in a new controller."""
    from jamba_ray.cluster.ray_private import PrivateName
    from jamba_ray.runners.group import Group

    monkeypatch.setattr(PrivateName, "find", lambda name: None)
    bare = Group(RunFolder(tmp_path / "run").create(), workers=2)
    try:
        recorder = KillAt(5, subject=1)
        (outcome,) = bare.fit([trial(2, seed=0)], data, recorder)
        assert is_equal(recorder, outcome, expected)
        assert recorder.back_at is not None, "it went on after the kill"
    finally:
        bare.close()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_ten_sigkills_of_any_rank_at_any_time(group, data, expected):
    chance = random.Random(3)
    for number in range(10):
        recorder = KillAt(chance.randint(1, 10), subject=chance.randint(0, 1))
        (outcome,) = group.fit([trial(10 + number, seed=0)], data, recorder)
        assert is_equal(recorder, outcome, expected), number
        assert recorder.back_at is not None
        print(f"kill {number}: back after {recorder.back_at - recorder.killed_at:.1f} s")
    assert orphans(group._folder) == []


@pytest.mark.slow
def test_a_stopped_rank_is_found_and_replaced(group, data, expected):
    """SIGSTOP: it cannot say anything itself. Found after 30 s of silence."""
    recorder = KillAt(5, subject=1, number=signal.SIGSTOP)
    (outcome,) = group.fit([trial(20, seed=0)], data, recorder)
    assert is_equal(recorder, outcome, expected)
