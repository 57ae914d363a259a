"""Copies of a run that goes on: in a thread of their own, one at a time, none after the end."""

from __future__ import annotations

import threading
import time

import pytest

from jamba_ray.checkpoints import RemoteFolder
from jamba_ray.config.store_uri import StoreUri
from jamba_ray.runs.bucket_replica import BucketReplica
from jamba_ray.runs.replicator import Replicator, copied
from jamba_ray.runs.row_log import RowLog, read_rows
from jamba_ray.runs.run_folder import RunFolder
from jamba_ray.study.reading import read_study
from tests.checkpoints.s3_server import s3_server
from tests.study.studies import open_study, run_to_end


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with s3_server() as found:
        yield found


@pytest.fixture
def folder(tmp_path, server) -> RunFolder:
    uri = StoreUri("s3", "bucket/sweeps/night")
    return RunFolder(tmp_path / "here" / "night", uri, server[0]).create()


def _wait_for(ask):
    deadline = time.monotonic() + 30
    while not ask():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_study_rows_and_logs_are_there_before_the_end(folder, tmp_path):
    remote = RemoteFolder(folder.remote, folder.endpoint)
    replicator = Replicator(folder, pytest.fail, study_every_s=0.2, rows_every_s=0.3)
    replicator.start()
    study = open_study(folder.path, n_trials=5)
    rows = RowLog(folder.path, system=False)
    folder.log.write_text("begun\n")
    (folder.logs / "runner-0.log").write_text("ValueError: bad batch\n")
    try:
        run_to_end(study)
        for trial in study.records():
            for step, value in trial.curve:
                rows.write(trial.number, step, {"val/x": value, "train/loss": 1 / step})
        n_rows = sum(1 for _ in read_rows(folder.path))

        def all_there() -> bool:
            other = RunFolder(tmp_path / str(time.monotonic_ns()), folder.remote, folder.endpoint)
            BucketReplica(other.create(), folder.remote).fetch()
            return (
                other.study.exists()
                and [t.state for t in read_study(other.study).trials]
                == [t.state for t in study.records()]
                and sum(1 for _ in read_rows(other.path)) == n_rows
                and other.log.exists()
                and other.log.read_text() == "begun\n"
            )

        _wait_for(all_there)
        assert remote.read("logs/runner-0.log", 1000) == b"ValueError: bad batch\n"
    finally:
        replicator.stop()
        study.close()


def test_one_copy_at_a_time_and_none_after_the_end(folder, server):
    _, faults = server
    running, most = [], []

    def slowly(method: str, path: str) -> float | None:
        if method != "PUT":
            return None
        running.append(path)
        most.append(len(running))
        time.sleep(0.3)
        running.remove(path)
        return None

    faults.plan = slowly
    rows = RowLog(folder.path, system=False)
    replicator = Replicator(folder, pytest.fail, study_every_s=0.05, rows_every_s=0.05)
    replicator.start()
    study = open_study(folder.path, n_trials=5)
    try:
        run_to_end(study)
        for step in range(1, 40):
            rows.write(0, step, {"x": 1.0})
            time.sleep(0.05)
        assert running, "the store was not slow"
        replicator.stop()
        assert not running, "a copy was still under way"
        n_puts = len(most)
        time.sleep(0.5)
        assert len(most) == n_puts
    finally:
        replicator.stop()
        study.close()
    assert max(most) == 1


def test_the_end_does_not_wait_for_a_store_that_refuses(folder, server):
    _, faults = server
    faults.plan = lambda method, path: (503, "SlowDown") if method == "PUT" else None
    open_study(folder.path, n_trials=2).close()
    said: list[str] = []
    with copied(folder, said.append):
        _wait_for(lambda: any(method == "PUT" for method, _ in faults.requests))
        begun = time.monotonic()
    assert time.monotonic() - begun < 5.0
    assert said == []


def test_what_a_store_refuses_is_said_once(folder, server):
    _, faults = server
    faults.plan = lambda method, path: (403, "AccessDenied") if method == "PUT" else None
    study = open_study(folder.path, n_trials=2)
    said: list[str] = []
    replicator = Replicator(folder, said.append, study_every_s=0.05, rows_every_s=60.0)
    replicator.start()
    try:
        _wait_for(lambda: sum(method == "PUT" for method, _ in faults.requests) >= 3)
    finally:
        replicator.stop()
        study.close()
    assert len(said) == 1
    assert "Check the bucket" in said[0]


def test_a_local_run_is_copied_nowhere(tmp_path):
    before = threading.active_count()
    with copied(RunFolder(tmp_path / "run").create(), pytest.fail):
        assert threading.active_count() == before
