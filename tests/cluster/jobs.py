"""Sweeps submitted to a real head as CI does it, and the processes behind them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

from tests.cluster import files
from tests.cluster.heads import Head

SMALL = [
    *("+sweep=attention_heads", "n_trials=2", "data.n_samples=2000", "training.epochs=1"),
    *("model.hidden_dim=16", "rival=false", "tracking.name=none"),
]
LONG = [*SMALL, "n_trials=60", "training.epochs=60", "pruner.name=none"]


def copy_checkout(place: Path) -> Path:
    """A working folder as CI has it, without what other tests leave here."""
    for name in ("jamba_ray", "conf", "sweeps"):
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(files.ROOT / name, place / name, ignore=ignore)
    shutil.copy(files.ROOT / "pyproject.toml", place)
    return place


_running: list[subprocess.Popen[str]] = []


class Submitted:
    """A running ``python -m jamba_ray.submit``."""

    def __init__(
        self, cluster: Head, checkout: Path, *arguments: str, address: str = "", **environment: str
    ) -> None:
        address = address or cluster.address
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "jamba_ray.submit", *arguments),
                f"submit.address={address}",
            ],
            cwd=checkout,
            env={**cluster.environment, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._seen: list[str] = []
        _running.append(self.process)

    def until(self, start: str) -> str:
        """Read to the line that begins with ``start``, and return it."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._seen.append(line)
            if line.startswith(start):
                return line
        raise AssertionError(f"{start!r} never came:\n{''.join(self._seen)}")

    def end(self, timeout_s: float = 400.0) -> int:
        """Wait for it, killing it where that takes too long; the exit code."""
        assert self.process.stdout is not None
        late = threading.Timer(timeout_s, self.process.kill)
        late.start()
        # Not `communicate`: it passes over what `until` has read ahead.
        self._seen.extend(self.process.stdout)
        late.cancel()
        return self.process.wait(30)

    @property
    def log(self) -> str:
        """What it has said and was read."""
        return "".join(self._seen)


def end_all() -> None:
    """Kill the clients that a failed test left."""
    while _running:
        process = _running.pop()
        if process.poll() is None:
            process.kill()
        process.wait(30)
        if process.stdout is not None:
            process.stdout.close()


def names(cluster: Head) -> list[str]:
    """The jobs that the cluster knows."""
    token = (Path(cluster.environment["HOME"]) / ".ray" / "auth_token").read_text()
    headers = {"Authorization": f"Bearer {token}"}
    request = urllib.request.Request(f"{cluster.address}/api/jobs/", headers=headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return sorted(str(job["submission_id"]) for job in json.load(answer))


def drivers(run: str) -> list[int]:
    """The processes of a sweep's driver."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            words = (process / "cmdline").read_bytes().decode().split("\0")
        except (OSError, UnicodeDecodeError):
            continue
        if f"run={run}" in words and "jamba_ray.sweep" in words:
            found.append(int(process.name))
    return found


def wait_for(what: str, ask, timeout_s: float = 60.0) -> None:
    """Until ``ask()`` is true."""
    deadline = time.monotonic() + timeout_s
    while not ask():
        assert time.monotonic() < deadline, f"{what}: not within {timeout_s:.0f} s"
        time.sleep(0.2)
