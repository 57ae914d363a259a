"""A bucket that takes its time over the copies: the sweep is watched as ever, nothing is lost."""

from __future__ import annotations

import itertools
import os
import time

import pytest

from jamba_ray.config.store_uri import StoreUri
from jamba_ray.runs.bucket_replica import BucketReplica
from jamba_ray.runs.row_log import read_rows
from jamba_ray.runs.run_folder import RunFolder
from jamba_ray.study.reading import read_study
from tests.checkpoints.s3_server import s3_server
from tests.study import trials

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

DELAY_S = 6.0


def test_polling_does_not_wait_for_the_copies(tmp_path, monkeypatch):
    for name in [n for n in os.environ if n.startswith(("RAY_", "AWS_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    uri = StoreUri("s3", "bucket/sweeps/night")
    looks: list[float] = []
    with s3_server() as (endpoint, faults):

        def slow(method: str, path: str) -> float | None:
            return DELAY_S if method == "PUT" and "/study/" in path else None

        faults.plan = slow
        folder = RunFolder(tmp_path / "here" / "night", uri, endpoint).create()
        result = trials.sweep(
            folder,
            trials.slow,
            lambda progress: looks.append(time.monotonic()),
            n_trials=10,
            max_concurrent=1,
            pruner={"name": "none"},
        )
        copies = sum(m == "PUT" and "/study/" in p for m, p in faults.requests)
        assert copies >= 2, "the sweep was over before the store could be slow"
        faults.plan = lambda method, path: None
        BucketReplica(folder, uri).push_results()

        there = RunFolder(tmp_path / "there" / "night", uri, endpoint).create()
        BucketReplica(there, uri).fetch()
    assert result.counts["complete"] == 10
    assert read_study(there.study).trials == read_study(folder.study).trials
    assert list(read_rows(there.path)) == list(read_rows(folder.path))
    gaps = [b - a for a, b in itertools.pairwise(looks)]
    print(f"longest of {len(gaps)} times between two looks: {max(gaps):.1f} s, {copies} copies")
    assert max(gaps) < DELAY_S / 2
