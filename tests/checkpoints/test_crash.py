"""Real kills, a really full disk, a really read-only one."""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import jamba_ray.checkpoints.folder as folder_module
from jamba_ray.checkpoints import CheckpointStore, Snapshot
from jamba_ray.errors import CheckpointError, StorageError

WRITER = textwrap.dedent("""
    import sys
    from pathlib import Path
    import numpy as np
    from jamba_ray.checkpoints import CheckpointStore, Snapshot
    store = CheckpointStore(Path(sys.argv[1]))
    trial, step = int(sys.argv[2]), int(sys.argv[3])
    while True:
        step += 1
        arrays = {f"model/{i}": np.full(20_000, step, np.float32) for i in range(4)}
        store.save(trial, step, Snapshot(arrays, {"state": {"step": step}}))
        print(step, flush=True)      # acknowledged
        store.retain(best=[], finished=[])
""")


IN_PLACE = textwrap.dedent("""
    import time
    import jamba_ray.checkpoints.store as module
    def in_place(target, files):
        target.mkdir()
        for name, data in files.items():
            time.sleep(0.1)
            (target / name).write_bytes(data)
    module.commit_folder = in_place
""")


def _acknowledged_before_kill(
    root: Path, trial: int, first: int, seconds: float, writer: str = WRITER
) -> int:
    command = [sys.executable, "-c", writer, str(root), str(trial), str(first)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline()  # it has begun
        time.sleep(seconds)
        process.send_signal(signal.SIGKILL)
        steps = [int(line) for line in process.stdout.read().split() if line.isdigit()]
    return max(steps, default=first + 1)


def test_kill_9_at_any_time_loses_nothing_acknowledged_and_leaves_nothing_torn(tmp_path):
    rng = random.Random(4)
    store = CheckpointStore(tmp_path)
    last = 0
    for _ in range(5):
        last = _acknowledged_before_kill(tmp_path, 3, last, rng.uniform(0.0, 0.15))
        entries = store.entries()
        assert last in [e.step for e in entries]
        for entry in entries:
            loaded = store.load(entry.path)
            assert loaded.documents["state"] == {"step": entry.step}
            assert all((a == entry.step).all() for a in loaded.tensors.values())
        store.sweep_orphans()
        assert list(tmp_path.rglob(".*")) == []
        last = max(e.step for e in entries)


def test_sabotage_a_writer_without_the_atomic_rename_is_caught_by_one_kill(tmp_path):
    _acknowledged_before_kill(tmp_path, 3, 0, 0.05, writer=IN_PLACE + WRITER)
    store = CheckpointStore(tmp_path)
    with pytest.raises(CheckpointError, match="is missing"):
        store.load(store.entries()[-1].path)


def test_writers_of_different_trials_share_a_store(tmp_path):
    command = [sys.executable, "-c", WRITER, str(tmp_path)]
    writers = [
        subprocess.Popen([*command, str(trial), "0"], stdout=subprocess.PIPE) for trial in (1, 2)
    ]
    for writer in writers:
        for _ in range(5):
            assert writer.stdout.readline().strip()
    for writer in writers:
        writer.kill()
        writer.communicate()
    store = CheckpointStore(tmp_path)
    assert {e.trial for e in store.entries()} == {1, 2}
    for entry in store.entries():
        assert store.load(entry.path).documents["state"] == {"step": entry.step}


def test_orphans_of_the_dead_are_swept_and_those_of_the_living_stay(tmp_path):
    store = CheckpointStore(tmp_path)
    store.save(1, 1, Snapshot())
    trial = tmp_path / "trial-0001"
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    machine = folder_module._machine()
    orphan = trial / f".scratch.{machine}.{dead.pid}.abc"
    own = trial / f".scratch.{machine}.{os.getpid()}.abc"
    foreign = trial / ".scratch.0123456789ab.1.abc"
    foreign_old = tmp_path / ".scratch.0123456789ab.2.abc"
    for path in (orphan, own, foreign, foreign_old):
        path.mkdir()
        (path / "manifest.json").write_text("{")
    os.utime(foreign_old, (time.time() - 7200,) * 2)
    assert set(store.sweep_orphans()) == {orphan, foreign_old}
    assert own.exists()
    assert foreign.exists()
    assert len(store.entries()) == 1


def test_files_are_durable_before_the_folder_appears_and_the_folder_before_save_returns(
    tmp_path, monkeypatch
):
    """The order that a power loss cares for, from the real calls."""
    events: list[str] = []
    fsync, rename = os.fsync, os.rename

    def recorded_fsync(fd: int) -> None:
        events.append(f"sync {Path(os.readlink(f'/proc/self/fd/{fd}')).name}")
        fsync(fd)

    def recorded_rename(a: Path, b: Path) -> None:
        events.append(f"rename {Path(b).name}")
        rename(a, b)

    monkeypatch.setattr(os, "fsync", recorded_fsync)
    monkeypatch.setattr(os, "rename", recorded_rename)
    store = CheckpointStore(tmp_path / "root")
    store.save(1, 2, Snapshot({"a": np.zeros(1)}, {"state": {}}))
    scratch = next(e for e in events if ".scratch" in e)
    assert events == [
        "sync root",
        "sync model.safetensors",
        "sync state.json",
        "sync manifest.json",
        scratch,
        "rename step-000002",
        "sync trial-0001",
    ]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    mount = tmp_path / "small"
    mount.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(mount)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("mounting a small tmpfs needs root")
    yield mount
    subprocess.run(["umount", str(mount)], check=True)


def test_a_full_disk_is_said_and_leaves_nothing_and_what_was_saved_stays(small_disk):
    store = CheckpointStore(small_disk / "checkpoints")
    path = store.save(1, 1, Snapshot({"a": np.zeros(50_000)}))
    for step in (2, 3):
        with pytest.raises(
            StorageError, match=r"Cannot write .*no space left.*0\.8 MB.*Free space"
        ):
            store.save(1, step, Snapshot({"a": np.zeros(100_000)}))
    assert [e.path for e in store.entries()] == [path]
    assert list(small_disk.rglob(".*")) == []
    assert store.load(path).tensors["a"].shape == (50_000,)
    store.save(1, 4, Snapshot({"a": np.zeros(50_000)}))  # the space was given back


def test_a_read_only_disk_is_said(small_disk):
    store = CheckpointStore(small_disk / "checkpoints")
    path = store.save(1, 1, Snapshot())
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(StorageError, match=r"read-only file system.*Remount"):
        store.save(1, 2, Snapshot())
    with pytest.raises(StorageError, match=r"Cannot remove .*read-only"):
        store.retain(best=[], finished=[1])
    assert store.load(path) == Snapshot()


def test_a_store_that_went_away_is_not_made_anew(tmp_path):
    (tmp_path / "disk").mkdir()
    store = CheckpointStore(tmp_path / "disk" / "checkpoints")
    store.save(1, 1, Snapshot())
    (tmp_path / "disk").rename(tmp_path / "unplugged")
    for trial in (1, 2):
        with pytest.raises(StorageError, match=r"Cannot write .*Its folder is gone"):
            store.save(trial, 2, Snapshot())
    with pytest.raises(StorageError, match=r"Cannot read .*no such file"):
        store.entries()
    with pytest.raises(StorageError, match="Its folder is gone"):
        CheckpointStore(tmp_path / "disk" / "checkpoints")  # as a restarted runner would
    assert not (tmp_path / "disk").exists()


def test_a_failed_write_at_any_call_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    """An I/O error at the n-th fsync, for every n, while a checkpoint is being replaced."""
    store = CheckpointStore(tmp_path)
    path = store.save(1, 1, Snapshot(documents={"state": "old"}))
    fsync = os.fsync
    for n in range(3):
        left = [n]

        def failing(fd: int, left: list[int] = left) -> None:
            if left[0] == 0:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            left[0] -= 1
            fsync(fd)

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", failing)
            with pytest.raises(StorageError, match="input/output error"):
                store.save(1, 1, Snapshot(documents={"state": "new"}))
        assert store.load(path).documents["state"] == "old"
        assert list(tmp_path.rglob(".*")) == []


def test_an_interrupt_while_saving_leaves_nothing(tmp_path, monkeypatch):
    store = CheckpointStore(tmp_path)

    def interrupted(fd: int) -> None:
        if "scratch" in os.readlink(f"/proc/self/fd/{fd}"):
            raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        store.save(1, 1, Snapshot())
    assert store.entries() == []
    assert list(tmp_path.rglob(".*")) == []


def test_a_half_removed_checkpoint_does_not_verify(tmp_path, monkeypatch):
    """A crash inside the removal: whatever is left is not listed and is swept."""
    store = CheckpointStore(tmp_path)
    path = store.save(1, 1, Snapshot(documents={"state": {}}))
    monkeypatch.setattr("shutil.rmtree", lambda *_, **__: None)
    store.retain(best=[], finished=[1])
    assert store.entries() == []
    with pytest.raises(CheckpointError, match="there is no checkpoint"):
        store.load(path)
    assert len(list((tmp_path / "trial-0001").glob(".scratch.*"))) == 1
