"""One writer: refused at once, taken over when stale or dead, and fenced when it comes back."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from jamba_ray.errors import RunExistsError, StorageError
from jamba_ray.study import lease
from jamba_ray.study.journal import StudyJournal
from jamba_ray.study.lease import STALE_S, Lease, LeaseLostError
from jamba_ray.study.recovery import open_for_writing
from tests.study.studies import line, open_study

HOLDER = """
import os, sys, time
from pathlib import Path
from tests.study.studies import open_study
study = open_study(Path(sys.argv[1]))
print(study.ask("s/a").spec.number, flush=True)
time.sleep(600)
"""


def change(path, **changes):
    """Write something else into the lease of a study."""
    with lease._locked(path) as file:
        found = lease._read(file)
        lease._write(file, replace(found, **changes))


def read(path):
    """What the lease of a study says."""
    with lease._locked(path) as file:
        return lease._read(file)


def age(path, seconds):
    """As if the holder had been silent for so long."""
    change(path, renewed=read(path).renewed - seconds)


def test_a_living_holder_is_named_within_two_seconds_and_a_dead_one_replaced_at_once(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout.readline() == "0\n"
        began = time.monotonic()
        with pytest.raises(RunExistsError, match=f"process {holder.pid} on {os.uname().nodename}"):
            open_study(tmp_path, session="t")
        with pytest.raises(RunExistsError, match=f"process {holder.pid} "):
            lease.check_free(tmp_path / "study.journal")
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
    age(tmp_path / "study.journal", STALE_S + 1)
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
    monkeypatch.setattr(StudyJournal, "_fence", lambda self: contextlib.nullcontext())
    assert late_writer(tmp_path)


def test_a_driver_keeps_its_lease_alive_and_sees_when_it_is_gone(tmp_path, monkeypatch):
    monkeypatch.setattr(lease, "RENEW_S", 0.1)
    path = tmp_path / "study.journal"
    opened = open_for_writing(path, "maximize")
    with Lease(path, opened.epoch) as held:
        age(path, 10)
        time.sleep(1.0)
        assert time.time() - read(path).renewed < 5
        assert not held.lost
        age(path, STALE_S + 10)
        change(path, epoch=opened.epoch + 1, process={"pid": 1})
        deadline = time.monotonic() + 30
        while not held.lost and time.monotonic() < deadline:
            time.sleep(0.05)
        assert held.lost
    assert read(path).process == {"pid": 1}, "the lease of another was given back"


def test_the_newest_server_of_a_session_is_its_writer(tmp_path):
    path = tmp_path / "study.journal"
    opened = open_for_writing(path, "maximize")
    first = StudyJournal(path, "maximize", epoch=opened.epoch)
    second = StudyJournal(path, "maximize", epoch=opened.epoch)
    first.study.set_user_attr("x", 1)
    with pytest.raises(LeaseLostError):
        first.commit()
    second.study.set_user_attr("x", 2)
    second.commit()
    first.close()
    second.close()


@pytest.mark.parametrize("how", ["removed", "damaged"])
def test_a_lease_that_somebody_removed_is_written_again(tmp_path, monkeypatch, how):
    """Meanwhile a commit waits, as for a disk that refuses."""
    monkeypatch.setattr(lease, "RENEW_S", 0.2)
    path = tmp_path / "study.journal"
    opened = open_for_writing(path, "maximize")
    with Lease(path, opened.epoch) as held:
        journal = StudyJournal(path, "maximize", epoch=opened.epoch, patience_s=20.0)
        if how == "removed":
            lease.lease_of(path).unlink()
        else:
            lease.lease_of(path).write_bytes(b"}" * 1024)
        journal.study.set_user_attr("x", 1)
        journal.commit()
        journal.close()
        assert not held.lost
    assert read(path).process is None


def test_an_epoch_is_never_given_twice_although_the_lease_was_removed(tmp_path):
    path = tmp_path / "study.journal"
    paused = open_study(tmp_path, session="a")
    spec = paused.ask("a/x").spec
    lease.lease_of(path).unlink()
    taker = open_study(tmp_path, session="b")
    assert taker.ask("b/x").spec.number == spec.number
    with pytest.raises(LeaseLostError):
        paused.report([line(spec.number, 1, 0.75)])
    paused.close()
    taker.report([line(spec.number, 1, 0.25)])
    taker.close()
