"""A bucket that throttles, fails, hangs or refuses; what is retried and what is said."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from jamba_ray.checkpoints import Patience, RemoteCheckpointStore, RemoteFolder
from jamba_ray.config.store_uri import StoreUri, parse_store
from jamba_ray.errors import StorageError
from tests.checkpoints.s3_server import Faults, s3_server


@pytest.fixture
def s3(monkeypatch) -> Iterator[tuple[str, Faults]]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with s3_server() as found:
        yield found


def _folder(endpoint: str, pauses: list[float], deadline_s: float = 300.0) -> RemoteFolder:
    return RemoteFolder(
        StoreUri("s3", "bucket/run"),
        endpoint,
        patience=Patience(deadline_s=deadline_s),
        sleep=pauses.append,
        chance=lambda: 0.001,
    )


@pytest.mark.parametrize("refusal", [(503, "SlowDown"), (500, "InternalError")])
def test_throttled_and_failing_writes_are_made_again(s3, snapshot, refusal):
    endpoint, faults = s3
    luck = random.Random(0)
    faults.plan = lambda method, path: refusal if luck.random() < 0.35 else None
    pauses: list[float] = []
    store = RemoteCheckpointStore(_folder(endpoint, pauses))
    path = store.save(1, 1, snapshot)
    assert store.load(path).documents == snapshot.documents
    assert store.latest(1)[0].entry.step == 1
    assert pauses, "the store was never asked again"


def test_slow_writes_are_waited_for(s3, snapshot):
    endpoint, faults = s3
    faults.plan = lambda method, path: 0.5 if method == "PUT" else None
    store = RemoteCheckpointStore(_folder(endpoint, []))
    assert store.load(store.save(1, 1, snapshot)).blobs == snapshot.blobs


def test_a_store_that_stays_away_ends_in_a_sentence(s3, snapshot):
    endpoint, faults = s3
    faults.plan = lambda method, path: (503, "SlowDown")
    store = RemoteCheckpointStore(_folder(endpoint, [], deadline_s=0.0))
    with pytest.raises(StorageError, match=r"SLOW_DOWN.*resume=true"):
        store.save(1, 1, snapshot)
    faults.plan = lambda method, path: None
    assert store.entries() == []


@pytest.mark.parametrize("refusal", [(403, "AccessDenied"), (404, "NoSuchBucket")])
def test_a_final_refusal_is_not_asked_again(s3, refusal):
    endpoint, faults = s3
    faults.plan = lambda method, path: refusal
    pauses: list[float] = []
    folder = _folder(endpoint, pauses)
    with pytest.raises(StorageError, match="rights"):
        folder.write("a", b"1")
    assert pauses == []
    assert len(faults.requests) < 20


def test_a_failed_write_leaves_the_old_object(s3):
    endpoint, faults = s3
    folder = _folder(endpoint, [], deadline_s=0.0)
    folder.write("study.db", b"old")
    faults.plan = lambda method, path: (500, "InternalError") if method != "GET" else None
    with pytest.raises(StorageError):
        folder.write("study.db", b"new")
    faults.plan = lambda method, path: None
    assert folder.read("study.db", 100) == b"old"


@pytest.mark.parametrize(
    "value",
    [
        "http://bucket/x",
        "ftp://bucket/x",
        "s3://key:secret@bucket/x",
        "s3://bucket/x?endpoint_override=evil",
        "s3://bucket/../x",
        "s3://bucket//x",
        "s3://UPPER/x",
        "s3:///x",
        "s3://bucket/x#y",
        "gs://b",
        "",
        "  ",
    ],
)
def test_stores_that_are_refused(value):
    with pytest.raises(ValueError, match="store") as caught:
        parse_store(value)
    assert "secret" not in str(caught.value)


def test_stores_that_are_known():
    assert parse_store("runs/x") == "runs/x"
    assert parse_store("file:///data/runs") == "/data/runs"
    assert parse_store("s3://bucket/team/sweeps/") == StoreUri("s3", "bucket/team/sweeps")
    assert str(StoreUri("gs", "bucket").child("run-1")) == "gs://bucket/run-1"
