"""A store that does not do what a run needs is found out before anything starts."""

from __future__ import annotations

import time

import pytest

from jamba_ray.cluster.node_facts import facts
from jamba_ray.config.store_uri import StoreUri
from jamba_ray.errors import StorageError
from jamba_ray.runs.probe import probe
from jamba_ray.runs.run_folder import RunFolder


def test_a_folder_and_a_bucket_that_work_hold_nothing_afterwards(s3, tmp_path):
    endpoint, faults = s3
    probe(RunFolder(tmp_path / "new" / "store" / "run"))
    probe(RunFolder.of("s3://bucket/new", "run", endpoint))
    assert list(tmp_path.iterdir()) == []
    put, got, deleted = (
        [p for m, p in faults.requests if m == how] for how in ("PUT", "GET", "DELETE")
    )
    assert put[0] == got[-1] == deleted[0]
    assert put[0].startswith("/bucket/new/.probe-"), "it must not lie in a run"


@pytest.mark.parametrize("place", ["/proc/self", "/proc/self/status/x"])
def test_a_folder_that_takes_no_file_is_one_sentence(place):
    with pytest.raises(StorageError, match=r"must be writable, but '/proc.*`store=`") as caught:
        probe(RunFolder.of(place, "run"))
    assert "\n" not in caught.value.message
    assert facts(place, None, [])["store_mistake"] is not None, "the doctor asks otherwise"


REFUSALS = {
    "no bucket": lambda method, path: (404, "NoSuchBucket"),
    "no rights at all": lambda method, path: (403, "AccessDenied"),
    "no right to read": lambda m, path: (403, "AccessDenied") if m in ("GET", "HEAD") else None,
    "no right to delete": lambda m, path: (403, "AccessDenied") if m == "DELETE" else None,
    "unknown key": lambda method, path: (403, "InvalidAccessKeyId"),
    "expired": lambda method, path: (400, "ExpiredToken"),
    "another region": lambda method, path: (301, "PermanentRedirect"),
    "no object store": lambda method, path: (405, "MethodNotAllowed"),
}


@pytest.mark.parametrize("plan", REFUSALS.values(), ids=REFUSALS)
def test_a_bucket_that_refuses_is_one_sentence_at_once(s3, plan):
    endpoint, faults = s3
    faults.plan = plan
    begun = time.monotonic()
    with pytest.raises(StorageError, match="Check the bucket") as caught:
        probe(RunFolder.of("s3://bucket/store", "run", endpoint))
    assert "\n" not in caught.value.message
    assert time.monotonic() - begun < 3.0
    assert len(faults.requests) <= 5, "it was asked again"


def test_a_bucket_that_takes_anything_but_gives_nothing_without_credentials(s3, monkeypatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("HOME", "/nonexistent")
    with pytest.raises(StorageError, match="ACCESS_DENIED"):
        probe(RunFolder.of("s3://bucket/store", "run", s3[0]))


def test_a_missing_bucket_is_found_where_reading_says_nothing(s3):
    folder = RunFolder(RunFolder.of("x", "run").path, StoreUri("s3", "missing/run"), s3[0])
    with pytest.raises(StorageError, match="NO_SUCH_BUCKET"):
        probe(folder)
