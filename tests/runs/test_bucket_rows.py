"""Rows in a bucket: what is new while a run goes on, all of them at its end."""

from __future__ import annotations

import gzip

import pytest

from jamba_ray.checkpoints import RemoteFolder
from jamba_ray.config.store_uri import StoreUri
from jamba_ray.errors import StorageError
from jamba_ray.runs import bucket_rows
from jamba_ray.runs.bucket_rows import BucketRows
from jamba_ray.runs.row_log import RowLog, read_rows, row_file


@pytest.fixture
def remote(bucket_server, tmp_path) -> RemoteFolder:
    uri = StoreUri("s3", f"bucket/{tmp_path.name.replace('_', '-')}")
    return RemoteFolder(uri, bucket_server[0])


@pytest.fixture
def here(tmp_path):
    (tmp_path / "here").mkdir()
    return tmp_path / "here"


def _write(folder, trial, *steps):
    log = RowLog(folder, system=False)
    for step in steps:
        log.write(trial, step, {"val/average_precision": step / 100})


def _there(tmp_path, remote, name):
    folder = tmp_path / name
    folder.mkdir()
    BucketRows(folder, remote).fetch()
    return [(row["trial"], row["step"]) for row in read_rows(folder)]


def test_what_is_new_goes_alone(here, remote, tmp_path):
    rows = BucketRows(here, remote)
    _write(here, 0, 1, 2)
    rows.push_new()
    assert remote.names() == ["rows.jsonl.gz"]
    _write(here, 0, 3)
    _write(here, 1, 1)
    rows.push_new()
    assert remote.names() == ["rows.jsonl.gz", "rows/part-000001.jsonl.gz"]
    part = gzip.decompress(remote.read("rows/part-000001.jsonl.gz", 10**6))
    assert part.count(b"\n") == 2, "old rows were copied again"
    assert _there(tmp_path, remote, "a") == [(0, 1), (0, 2), (0, 3), (1, 1)]

    rows.push_all()
    assert remote.names() == ["rows.jsonl.gz"]
    assert _there(tmp_path, remote, "b") == [(0, 1), (0, 2), (0, 3), (1, 1)]


def test_nothing_new_is_not_copied(here, remote, bucket_server):
    rows = BucketRows(here, remote)
    _write(here, 0, 1)
    rows.push_new()
    _write(here, 0, 2)
    rows.push_new()
    before = len(bucket_server[1].requests)
    rows.push_new()
    assert len(bucket_server[1].requests) == before


def test_half_a_row_waits_for_its_other_half(here, remote, tmp_path):
    rows = BucketRows(here, remote)
    rows.push_new()
    _write(here, 0, 1, 2)
    file = row_file(here, 0)
    whole = file.read_bytes()
    file.write_bytes(whole[:-10])
    rows.push_new()
    assert _there(tmp_path, remote, "a") == [(0, 1)]
    with file.open("ab") as more:
        more.write(whole[-10:])
    rows.push_new()
    assert _there(tmp_path, remote, "b") == [(0, 1), (0, 2)]


def test_a_part_that_is_large_is_closed(here, remote, tmp_path, monkeypatch):
    monkeypatch.setattr(bucket_rows, "_PART_BYTES", 250)
    rows = BucketRows(here, remote)
    rows.push_new()
    for step in range(1, 9):
        _write(here, 0, step)
        rows.push_new()
    parts = remote.names("rows")
    assert 2 <= len(parts) <= 5
    assert _there(tmp_path, remote, "a") == [(0, step) for step in range(1, 9)]


def test_a_refused_copy_is_made_with_the_next(here, remote, tmp_path, bucket_server):
    impatient = RemoteFolder(remote.uri, bucket_server[0], sleep=_no_more)
    rows = BucketRows(here, impatient)
    rows.push_new()
    _write(here, 0, 1)
    bucket_server[1].plan = lambda method, path: (503, "SlowDown") if method == "PUT" else None
    try:
        with pytest.raises(StorageError):
            rows.push_new()
    finally:
        bucket_server[1].plan = lambda method, path: None
    rows.push_new()
    assert _there(tmp_path, remote, "a") == [(0, 1)]


def test_a_session_elsewhere_goes_on_with_what_there_is(here, remote, tmp_path):
    first = BucketRows(here, remote)
    first.push_new()
    _write(here, 0, 1, 2)
    first.push_new()

    there = tmp_path / "there"
    there.mkdir()
    second = BucketRows(there, remote)
    second.fetch()
    _write(there, 0, 2, 3)  # from its checkpoint on
    second.push_new()
    _write(there, 1, 1)
    second.push_new()
    assert remote.names() == ["rows.jsonl.gz", "rows/part-000001.jsonl.gz"]
    assert _there(tmp_path, remote, "a") == [(0, 1), (0, 2), (0, 3), (1, 1)]


def test_a_damaged_part_costs_its_own_rows(here, remote, tmp_path):
    rows = BucketRows(here, remote)
    _write(here, 0, 1)
    rows.push_new()
    _write(here, 1, 1)
    rows.push_new()
    whole = remote.read("rows/part-000001.jsonl.gz", 10**6)
    remote.write("rows/part-000001.jsonl.gz", whole[: len(whole) // 2])
    assert _there(tmp_path, remote, "a") == [(0, 1)]


def _no_more(seconds: float) -> None:
    raise StorageError("no more")
