"""One writer: refused at once, taken over when stale or dead, and fenced when it comes back."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import sys
import time

import pytest

from jamba_ray.errors import RunExistsError, StorageError
from jamba_ray.study import lease
from jamba_ray.study.lease import STALE_S, Lease, LeaseLostError
from jamba_ray.study.recovery import open_for_writing
from jamba_ray.study.storage import StudyDatabase
from tests.study.studies import line, open_study

HOLDER = """
import os, sys, time
from pathlib import Path
from tests.study.studies import open_study
study = open_study(Path(sys.argv[1]))
print(study.ask("s/a").spec.number, flush=True)
time.sleep(600)
"""


def age(path, seconds):
    """As if the holder had been silent for so long."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE jamba_ray_lease SET renewed = renewed - ?", (seconds,))
        connection.commit()


def test_a_living_holder_is_named_within_two_seconds_and_a_dead_one_replaced_at_once(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout.readline() == "0\n"
        began = time.monotonic()
        with pytest.raises(RunExistsError, match=f"process {holder.pid} on {os.uname().nodename}"):
            open_study(tmp_path, session="t")
        with pytest.raises(RunExistsError, match=f"process {holder.pid} "):
            lease.check_free(tmp_path / "study.db")
        assert time.monotonic() - began < 2
        holder.kill()
        holder.wait()
        study = open_study(tmp_path, session="t")
        assert study.ask("t/a").spec.number == 0
        study.close()


def late_writer(tmp_path) -> bool:
    """Whether a writer that was paused past its lease still gets a report into the study."""
    paused = open_study(tmp_path, session="a")
    spec = paused.ask("a/x").spec
    age(tmp_path / "study.db", STALE_S + 1)
    taker = open_study(tmp_path, session="b")
    assert taker.ask("b/x").spec.number == spec.number
    taker.report([line(spec.number, 1, 0.25)])
    try:
        paused.report([line(spec.number, 1, 0.75)])
    except LeaseLostError:
        pass
    finally:
        with contextlib.suppress(Exception):
            paused.close()
        taker.close()
    try:
        study = open_study(tmp_path, session="c")
    except (StorageError, RunExistsError):
        # What two writers made of it does not even pass the digests; its copy may name a writer.
        return True
    (curve,) = [r.curve for r in study.records()]
    study.close()
    return curve != ((1, 0.25),)


def test_a_writer_that_comes_back_finds_that_it_lost_its_lease(tmp_path):
    assert not late_writer(tmp_path)


def test_without_the_fence_it_would_write(tmp_path, monkeypatch):
    """Sabotage twin."""
    monkeypatch.setattr(StudyDatabase, "_fence", lambda self: None)
    assert late_writer(tmp_path)


def test_a_driver_keeps_its_lease_alive_and_sees_when_it_is_gone(tmp_path, monkeypatch):
    monkeypatch.setattr(lease, "RENEW_S", 0.1)
    path = tmp_path / "study.db"
    opened = open_for_writing(path, "maximize")
    with Lease(path, opened.epoch) as held:
        age(path, 10)
        time.sleep(1.0)
        with contextlib.closing(sqlite3.connect(path)) as connection:
            (renewed,) = connection.execute("SELECT renewed FROM jamba_ray_lease").fetchone()
        assert time.time() - renewed < 5
        assert not held.lost
        age(path, STALE_S + 10)
        with contextlib.closing(lease.connect(path)) as connection:
            connection.execute("UPDATE jamba_ray_lease SET epoch = epoch + 1, holder = 'another'")
        deadline = time.monotonic() + 30
        while not held.lost and time.monotonic() < deadline:
            time.sleep(0.05)
        assert held.lost
    with contextlib.closing(sqlite3.connect(path)) as connection:
        (holder,) = connection.execute("SELECT holder FROM jamba_ray_lease").fetchone()
    assert holder == "another", "the lease of another was given back"


def test_the_newest_server_of_a_session_is_its_writer(tmp_path):
    path = tmp_path / "study.db"
    opened = open_for_writing(path, "maximize")
    first = StudyDatabase(path, "maximize", epoch=opened.epoch)
    second = StudyDatabase(path, "maximize", epoch=opened.epoch)
    first.study.set_user_attr("x", 1)
    with pytest.raises(LeaseLostError):
        first.commit()
    second.study.set_user_attr("x", 2)
    second.commit()
    first.close()
    second.close()
