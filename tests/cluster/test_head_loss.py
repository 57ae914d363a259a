"""A cluster's head is lost with all it had; a new, empty one goes on from the bucket."""

from __future__ import annotations

import collections
import gzip
import itertools
import json
import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from jamba_ray.checkpoints import RemoteFolder
from jamba_ray.config.store_uri import StoreUri
from jamba_ray.errors import ExitCode
from jamba_ray.runs.replicator import ROWS_EVERY_S
from tests.checkpoints.s3_server import s3_server
from tests.cluster import jobs
from tests.cluster.heads import head
from tests.cluster.jobs import SMALL, Submitted

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SWEEP = [
    *(*SMALL, "n_trials=6", "training.epochs=400", "pruner.name=none", "tracking.name=local"),
    *("trials_per_runner=1", "store=s3://bucket/sweeps", "run=night", "submit.key=night"),
]


@pytest.fixture(autouse=True)
def _no_client_is_left(monkeypatch) -> Iterator[None]:
    for name in [n for n in os.environ if n.startswith(("RAY_", "AWS_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    yield
    jobs.end_all()


class Traffic:
    """When what was written to the bucket; the plan of its server."""

    def __init__(self) -> None:
        self.puts: list[tuple[float, str]] = []
        self._lock = threading.Lock()

    def __call__(self, method: str, path: str) -> None:
        if method == "PUT":
            with self._lock:
                self.puts.append((time.time(), path))

    def times(self, pattern: str) -> list[float]:
        """When the objects were written whose path ends like this."""
        return [at for at, path in list(self.puts) if re.search(pattern + "$", path)]

    def saving(self, first: int) -> int:
        """How many trials from number ``first`` on have had three checkpoints."""
        saved = collections.Counter(trial for _, _, trial, _ in self._manifests())
        return sum(trial >= first and n >= 3 for trial, n in saved.items())

    def checkpoints(self, until: float, there: set[str]) -> dict[int, list[tuple[float, int]]]:
        """Trial -> (when, report) of the checkpoints that it had, up to the newest that is
        there."""
        found: dict[int, list[tuple[float, int]]] = {}
        newest: dict[int, int] = {}
        for at, path, trial, step in self._manifests():
            if at < until:
                found.setdefault(trial, []).append((at, step))
                if path in there:
                    newest[trial] = len(found[trial])
        return {trial: those[: newest.get(trial, 0)] for trial, those in found.items()}

    def _manifests(self) -> Iterator[tuple[float, str, int, int]]:
        """When, path, trial and report of each checkpoint, which is whole with its manifest."""
        for at, path in list(self.puts):
            if parts := re.search(r"/trial-(\d+)/step-(\d+)/manifest\.json$", path):
                yield at, path, int(parts[1]), int(parts[2])


def test_a_new_head_goes_on_from_the_bucket(tmp_path):
    traffic = Traffic()
    with s3_server() as (endpoint, faults):
        faults.plan = traffic
        bucket = RemoteFolder(StoreUri("s3", "bucket/sweeps/night"), endpoint)
        checkout = jobs.copy_checkout(_new(tmp_path / "checkout"))
        command = [*SWEEP, f"store_endpoint={endpoint}", f"submit.results={tmp_path}"]
        with head(_new(tmp_path / "first")) as lost:
            first = Submitted(lost, checkout, *command, "submit.patience_s=10")
            first.until("2/6")
            # In the middle of the next two trials, and more than ten seconds after the first two.
            time.sleep(11)
            jobs.wait_for("checkpoints of two more trials", lambda: traffic.saving(first=2) >= 2)
            _kill_all(lost.environment["HOME"], spare=first.process.pid)
            killed = time.time()
            assert first.end(120) == ExitCode.UNAVAILABLE, first.log
        assert "The same command follows the sweep, or continues it" in first.log
        acknowledged = _ended(first.log)
        assert len(acknowledged) >= 2
        before = list(_rows(bucket))
        # What was being written when the power went is not there.
        whole = {f"/{bucket.uri.path}/{name}" for name in bucket.names("checkpoints")}

        with head(_new(tmp_path / "second")) as empty:
            second = Submitted(empty, checkout, *command)
            assert second.end(600) == ExitCode.OK, second.log
        assert "job night submitted" in second.log
        assert "continuing the study in s3://bucket/sweeps/night" in second.log
        after = list(_rows(bucket))

    copy_age = killed - max(t for t in traffic.times(r"/night/study/\d{12}\.jsonl") if t < killed)
    rows_age = killed - max(row["time"] for row in before)
    print(f"at the kill: the study's copy {copy_age:.1f} s old, the newest row {rows_age:.1f} s")
    assert copy_age <= 10.0
    assert rows_age <= ROWS_EVERY_S + 5.0

    trials = pd.read_parquet(tmp_path / "night" / "trials.parquet").set_index("number")
    assert list(trials["state"]) == ["complete"] * 6
    for trial, value in acknowledged.items():
        assert trial not in _ended(second.log), f"trial {trial} was finished and trained again"
        assert trials.loc[trial, "value"] == pytest.approx(value, abs=1e-5)

    made_again = [row for row in after if row["time"] > killed and row["system"]]
    saved = traffic.checkpoints(killed, whole)
    running = {trial for trial, those in saved.items() if those} - set(acknowledged)
    assert len(running) == 2, running
    for trial in sorted(running):
        times = [at for at, _ in saved[trial]]
        longest = max(b - a for a, b in itertools.pairwise(times))
        age, step = killed - times[-1], saved[trial][-1][1]
        first_again = min(row["step"] for row in made_again if row["trial"] == trial)
        print(
            f"trial {trial}: its checkpoint of report {step} was {age:.1f} s old (they came every "
            f"{longest:.1f} s at most); the first report made again is {first_again}"
        )
        assert age <= 2 * longest + 1.0
        assert first_again == step + 1
    assert not {row["trial"] for row in made_again} & set(acknowledged)


def _new(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _ended(log: str) -> dict[int, float]:
    """Trial -> value, of those that were shown as complete."""
    found = re.findall(
        r"^\d+/6 trial (\d+)(?: \([a-z ]+\))? complete avg precision ([\d.]+)", log, flags=re.M
    )
    return {int(trial): float(value) for trial, value in found}


def _rows(bucket: RemoteFolder) -> Iterator[dict[str, Any]]:
    """Every row in the bucket, also those that a later one replaces."""
    for name in ["rows.jsonl.gz", *bucket.names("rows")]:
        for line in gzip.decompress(bucket.read(name, 10**8) or b"").splitlines():
            yield json.loads(line)


def _kill_all(home: str, spare: int) -> None:
    """The power goes: every process of a head, its jobs and their runners, found by their HOME."""
    for _ in range(3):  # a process may be being born
        for process in Path("/proc").iterdir():
            try:
                mine = f"HOME={home}".encode() in (process / "environ").read_bytes().split(b"\0")
            except OSError:
                continue
            if mine and int(process.name) not in (spare, os.getpid()):
                try:
                    os.kill(int(process.name), signal.SIGKILL)
                except ProcessLookupError:
                    continue
