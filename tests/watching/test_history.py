"""Tests that the history survives what a crash leaves, and that one process writes at a time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from jamba_ray.errors import StorageError
from jamba_ray.watching.history import FILE, History, locked

WRITER = """
import sys
from pathlib import Path
from jamba_ray.watching.history import History
history = History(Path(sys.argv[1]))
i = 0
while True:
    history.append({"id": i, "text": "x" * 5000})
    print(i, flush=True)
    i += 1
"""


def test_what_a_torn_line_leaves_is_written_over(tmp_path):
    history = History(tmp_path)
    for i in range(3):
        history.append({"id": i})
    whole = (tmp_path / FILE).read_bytes()
    for cut in (1, 20, len(whole) // 2):
        (tmp_path / FILE).write_bytes(whole[:-cut])
        kept = History(tmp_path).read()
        assert [one["id"] for one in kept] == list(range(len(kept)))
        assert len(kept) < 3
        History(tmp_path).append({"id": 9})
        assert [one["id"] for one in History(tmp_path).read()] == [*range(len(kept)), 9]


def test_a_changed_line_and_all_after_it_are_not_believed(tmp_path):
    history = History(tmp_path)
    for i in range(3):
        history.append({"id": i})
    data = (tmp_path / FILE).read_bytes()
    (tmp_path / FILE).write_bytes(data.replace(b'"id":1', b'"id":7'))
    assert [one["id"] for one in History(tmp_path).read()] == [0]


def test_a_killed_writer_loses_nothing_that_it_had_written(tmp_path):
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    for line in writer.stdout:
        if int(line) >= 20:
            break
    time.sleep(0.02)
    os.kill(writer.pid, signal.SIGKILL)
    said = int((writer.stdout.read().split() or [line])[-1])
    writer.stdout.close()
    writer.wait()
    kept = [one["id"] for one in History(tmp_path).read()]
    assert kept == list(range(len(kept)))
    assert len(kept) > max(said, 20)
    History(tmp_path).append({"id": "after"})
    assert History(tmp_path).read()[-1]["id"] == "after"


def test_one_process_at_a_time(tmp_path):
    with (
        locked(tmp_path / "out"),
        pytest.raises(StorageError, match="one process at a time"),
        locked(tmp_path / "out"),
    ):
        pass
    with locked(tmp_path / "out"):
        pass
