"""What every checkpoint store promises: run over a local folder and over an S3 server."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from jamba_ray.checkpoints import (
    CheckpointStore,
    Entry,
    Patience,
    RemoteCheckpointStore,
    RemoteFolder,
    Snapshot,
    read_checkpoint,
)
from jamba_ray.config.store_uri import StoreUri
from jamba_ray.errors import CheckpointError
from tests.checkpoints.s3_server import Faults, s3_server


@pytest.fixture(scope="module")
def s3() -> Iterator[tuple[str, Faults]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        with s3_server() as (endpoint, faults):
            yield endpoint, faults


@pytest.fixture
def remote(s3: tuple[str, Faults], request) -> RemoteFolder:
    name = "".join(c if c.isalnum() else "-" for c in request.node.name)[:60]
    return RemoteFolder(StoreUri("s3", f"bucket/{name}/checkpoints"), s3[0])


class Trouble:
    """A plan for ``Faults``: of requests of every kind one in ten is throttled, one in thirty fails
    with an error of the server, or all are slow."""

    def __init__(self, kind: str) -> None:
        self._kind, self._luck, self.met = kind, random.Random(0), Counter()

    def __call__(self, method: str, path: str) -> tuple[int, str] | float | None:
        chance = self._luck.random()
        if self._kind == "slow":
            self.met[method] += 1
            return 0.02
        if chance > 1 / 10:
            return None
        self.met[method] += 1
        return (500, "InternalError") if chance < 1 / 30 else (503, "SlowDown")


@pytest.fixture(params=["local", "s3", "s3 that throttles", "s3 that is slow"])
def any_store(request, tmp_path: Path) -> Iterator[CheckpointStore]:
    if request.param == "local":
        yield CheckpointStore(tmp_path / "checkpoints")
        return
    remote: RemoteFolder = request.getfixturevalue("remote")
    if request.param == "s3":
        yield RemoteCheckpointStore(remote)
        return
    endpoint, faults = request.getfixturevalue("s3")
    trouble = Trouble(request.param.rpartition(" ")[2])
    patience = Patience(deadline_s=60.0, first_s=0.01, longest_s=0.05)
    faults.plan = trouble
    try:
        yield RemoteCheckpointStore(RemoteFolder(remote.uri, endpoint, patience=patience))
    finally:
        faults.plan = lambda method, path: None
    TROUBLE_MET.update(trouble.met)


TROUBLE_MET: Counter[str] = Counter()
"""Requests that were refused or delayed, by method: the suite was not run in fair weather."""


def _equal(a: Snapshot, b: Snapshot) -> bool:
    return (
        a.documents == b.documents
        and a.blobs == b.blobs
        and a.tensors.keys() == b.tensors.keys()
        and all(np.array_equal(a.tensors[n], b.tensors[n]) for n in a.tensors)
    )


class TestEveryStore:
    def test_what_is_saved_is_loaded(self, any_store, snapshot):
        path = any_store.save(7, 12, snapshot)
        assert path == "trial-0007/step-000012"
        assert _equal(any_store.load(path), snapshot)

    def test_entries_are_sorted(self, any_store, snapshot):
        for trial, step, kind in [(10_001, 1, "step"), (2, 10, "step"), (2, 9, "step")]:
            any_store.save(trial, step, snapshot, kind)
        any_store.save(2, 9, snapshot, "best")
        assert any_store.entries() == [
            Entry(2, 9, "best", "trial-0002/best-000009"),
            Entry(2, 9, "step", "trial-0002/step-000009"),
            Entry(2, 10, "step", "trial-0002/step-000010"),
            Entry(10_001, 1, "step", "trial-10001/step-000001"),
        ]
        assert any_store.entries(trial=3) == []
        assert len(any_store.entries(trial=2)) == 3

    def test_saving_again_replaces(self, any_store, snapshot):
        any_store.save(1, 1, snapshot)
        path = any_store.save(1, 1, Snapshot(documents={"state": {"second": True}}))
        assert _equal(any_store.load(path), Snapshot(documents={"state": {"second": True}}))

    def test_latest_is_the_newest(self, any_store, snapshot):
        assert any_store.latest(5) == (None, [])
        for step in (1, 2, 3):
            any_store.save(5, step, Snapshot(documents={"state": {"step": step}}))
        found, warnings = any_store.latest(5)
        assert found is not None
        assert (found.entry.step, warnings) == (3, [])
        assert found.snapshot.documents == {"state": {"step": 3}}

    def test_retain_deletes_what_lost(self, any_store, snapshot):
        for trial in (0, 1, 2):
            for step in (1, 2, 3):
                any_store.save(trial, step, snapshot)
        any_store.save(0, 2, snapshot, "best")
        any_store.retain(best=[0], finished=[0, 1])
        assert [(e.trial, e.step, e.kind) for e in any_store.entries()] == [
            (0, 2, "best"),
            (2, 2, "step"),
            (2, 3, "step"),
        ]
        assert any_store.retain(best=[0], finished=[0, 1]) == []

    def test_publish_makes_a_local_best(self, any_store, snapshot, tmp_path):
        path = any_store.save(1, 4, snapshot, "best")
        any_store.publish(path, tmp_path / "best")
        assert _equal(read_checkpoint(tmp_path / "best")[1], snapshot)

    @pytest.mark.parametrize("path", ["", "../x", "trial-0001", "trial-0001/step-000009/x", "/etc"])
    def test_paths_outside_are_refused(self, any_store, path):
        with pytest.raises(CheckpointError):
            any_store.load(path)

    def test_what_is_not_there_is_said(self, any_store):
        with pytest.raises(CheckpointError, match="there is no checkpoint"):
            any_store.load("trial-0001/step-000001")


def test_trouble_came_to_every_kind_of_request():
    if not TROUBLE_MET:
        pytest.skip("the suite above was not run")
    assert {"PUT", "GET", "DELETE"} <= TROUBLE_MET.keys()


class TestBucket:
    def test_damage_is_seen_and_walked_over(self, remote, snapshot):
        store = RemoteCheckpointStore(remote)
        store.save(1, 1, snapshot)
        store.save(1, 2, snapshot)
        names = [n for n in remote.names("trial-0001/step-000002") if "manifest" not in n]
        for name in names:
            good = remote.read(name, 10**9)
            remote.write(name, bytes([good[0] ^ 1]) + good[1:])
            with pytest.raises(CheckpointError):
                store.load("trial-0001/step-000002")
            found, warnings = store.latest(1)
            assert found.entry.step == 1
            assert len(warnings) == 1
            remote.write(name, good)
        remote.delete(names[0])
        with pytest.raises(CheckpointError, match="is missing"):
            store.load("trial-0001/step-000002")

    def test_a_killed_writer_leaves_no_checkpoint(self, remote, snapshot, monkeypatch):
        """Whatever the object at which it dies: without a manifest there is nothing."""
        store = RemoteCheckpointStore(remote)
        store.save(1, 1, snapshot)
        whole = len(remote.names())
        write = RemoteFolder.write
        for survived in range(whole):
            left = [survived]

            def dies(self, name, data, left=left):
                if not left[0]:
                    raise KeyboardInterrupt
                left[0] -= 1
                write(self, name, data)

            monkeypatch.setattr(RemoteFolder, "write", dies)
            with pytest.raises(KeyboardInterrupt):
                store.save(1, 2, snapshot)
            monkeypatch.setattr(RemoteFolder, "write", write)
            assert [e.step for e in store.entries()] == [1]
            assert store.latest(1)[0].entry.step == 1
        assert store.sweep_orphans()
        assert len(remote.names()) == whole
        assert _equal(store.load("trial-0001/step-000001"), snapshot)

    def test_a_killed_replacement_leaves_the_old_one(self, remote, snapshot, monkeypatch):
        store = RemoteCheckpointStore(remote)
        path = store.save(1, 1, snapshot)
        write = RemoteFolder.write

        def dies(self, name, data):
            if name.endswith("manifest.json"):
                raise KeyboardInterrupt
            write(self, name, data)

        monkeypatch.setattr(RemoteFolder, "write", dies)
        with pytest.raises(KeyboardInterrupt):
            store.save(1, 1, Snapshot(documents={"state": {"second": True}}))
        monkeypatch.setattr(RemoteFolder, "write", write)
        assert _equal(store.load(path), snapshot)
