"""A sweep whose store is a bucket: killed with its machine, continued elsewhere from there."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import jamba_ray
from jamba_ray.checkpoints import RemoteFolder
from jamba_ray.config.store_uri import StoreUri
from jamba_ray.errors import ExitCode
from tests.checkpoints.s3_server import Faults, s3_server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SWEEP = [
    *("+sweep=attention_heads", "n_trials=5", "data.n_samples=4000", "training.epochs=30"),
    *("model.hidden_dim=16", "rival=false", "pruner.name=none", "tracking.name=none"),
    *("store=s3://bucket/sweeps", "run=night"),
]


@pytest.fixture
def environment(monkeypatch) -> dict[str, str]:
    for name in [n for n in os.environ if n.startswith(("RAY_", "AWS_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return dict(os.environ)


def _sweep(folder: Path, environment: dict[str, str], *arguments: str) -> subprocess.Popen[str]:
    folder.mkdir(exist_ok=True)
    return subprocess.Popen(
        [sys.executable, "-m", "jamba_ray.sweep", *SWEEP, *arguments],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def test_the_loss_of_the_drivers_machine_is_survived(tmp_path, environment):
    with s3_server() as (endpoint, faults):
        run = RemoteFolder(StoreUri("s3", "bucket/sweeps/night"), endpoint)
        where = f"store_endpoint={endpoint}"
        first = _sweep(tmp_path / "first", environment, where)
        assert first.stdout is not None
        seen = []
        for line in first.stdout:
            seen.append(line)
            if line.startswith("1/5"):
                break
        else:
            pytest.fail("".join(seen))
        finished = int(line.split("trial ")[1].split()[0])
        # The study's copy is at most 10 s behind, however late the machine is lost.
        first_copy, second_copy = _next_copy(faults), _next_copy(faults)
        print(f"{second_copy - first_copy:.1f} s between two copies of the study")
        assert second_copy - first_copy <= 10.0
        os.killpg(first.pid, signal.SIGKILL)
        first.wait(60)
        first.stdout.close()
        _end_children(tmp_path / "first")
        shutil.rmtree(tmp_path / "first")

        again = _sweep(tmp_path / "second", environment, where)
        out, _ = again.communicate(timeout=300)
        assert again.returncode == ExitCode.RUN_EXISTS, out

        second = _sweep(tmp_path / "second", environment, where, "resume=true")
        out, _ = second.communicate(timeout=500)
        assert second.returncode == 0, out
        assert "continuing the study in s3://bucket/sweeps/night" in out
        assert f"trial {finished} complete" not in out, "a finished trial was trained again"
        summary = json.loads(run.read("summary.json", 10**7) or b"")
        assert summary["trials"] == {"complete": 5, "pruned": 0, "failed": 0, "running": 0}
        names = run.names("best")
        assert "best/manifest.json" in names
        for name in names:
            target = tmp_path / name
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(run.read(name, 10**8) or b"")
        assert jamba_ray.load(tmp_path / "best").config.model.name == "attention"


@pytest.fixture
def started(environment) -> Iterator[Callable[[list[str], Path], subprocess.Popen[bytes]]]:
    """Starts a command in a folder; what still runs at the end is killed."""
    running: list[subprocess.Popen[bytes]] = []

    def start(command: list[str], folder: Path) -> subprocess.Popen[bytes]:
        running.append(subprocess.Popen(command, cwd=folder, env=environment))
        return running[-1]

    yield start
    for process in running:
        process.kill()
        process.wait(30)


def test_what_a_lost_training_had_reported_is_in_the_bucket(tmp_path, started):
    """`train` has no study that its rows could be made again from."""
    train = [
        *(sys.executable, "-m", "jamba_ray.train", "model=mlp", "data.n_samples=20000"),
        *("training.epochs=2000", "training.report_rows=2000", "tracking.name=local"),
        *("store=s3://bucket/trained", "run=one"),
    ]
    with s3_server() as (endpoint, _):
        run = RemoteFolder(StoreUri("s3", "bucket/trained/one"), endpoint)
        command = [*train, f"store_endpoint={endpoint}"]
        (tmp_path / "first").mkdir()
        first = started(command, tmp_path / "first")
        deadline = time.monotonic() + 120
        while len(before := _steps(run)) <= 3:
            assert time.monotonic() < deadline, "no row is copied while it runs"
            assert first.poll() is None, "it was over before a row was copied"
            time.sleep(0.2)
        first.kill()
        first.wait(60)
        shutil.rmtree(tmp_path / "first")

        (tmp_path / "second").mkdir()
        second = started([*command, "resume=true"], tmp_path / "second")
        rows = tmp_path / "second" / "runs" / "one" / "rows" / "trial-0000.jsonl"
        deadline = time.monotonic() + 120
        while not rows.exists() or not _steps_in(rows.read_bytes()) > before:
            assert time.monotonic() < deadline, "it does not go on"
            assert second.poll() is None
            time.sleep(0.2)
        second.terminate()
        assert second.wait(60) == ExitCode.INTERRUPTED
        after = _steps(run)
    assert before < after
    # A checkpoint may be newer than the rows' last copy: what was reported between them is lost.
    lost = set(range(1, max(after) + 1)) - after
    assert lost == set(range(max(before) + 1, max(before) + 1 + len(lost))), "a report has no row"


def _steps(run: RemoteFolder) -> set[int]:
    packed = [run.read(name, 10**8) for name in ("rows.jsonl.gz", *run.names("rows"))]
    return _steps_in(b"".join(gzip.decompress(part) for part in packed if part is not None))


def _steps_in(rows: bytes) -> set[int]:
    whole = rows[: rows.rfind(b"\n") + 1]
    return {json.loads(line)["step"] for line in whole.splitlines()}


def _next_copy(faults: Faults) -> float:
    """Wait for the next copy of the study to the bucket; when it came."""

    def copies() -> int:
        return sum(r[0] == "PUT" and "/study/" in r[1] for r in faults.requests)

    before, deadline = copies(), time.monotonic() + 120
    while copies() == before:
        assert time.monotonic() < deadline, "the study is not copied"
        time.sleep(0.1)
    return time.monotonic()


def _end_children(folder: Path) -> None:
    """Ray's processes of the killed driver: they end by themselves when they notice; wait."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        left = [
            p
            for p in Path("/proc").iterdir()
            if p.name.isdigit() and _cwd(p).startswith(str(folder))
        ]
        if not left:
            return
        time.sleep(0.5)


def _cwd(process: Path) -> str:
    try:
        return os.readlink(process / "cwd")
    except OSError:
        return ""
