"""Two people's sweeps of one name on one Ray, at the same time: neither meets the other."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from tests.cluster.heads import head

SWEEP = [sys.executable, "-m", "jamba_ray.sweep", "+sweep=attention_heads", "run=night-1"]
SWEEP += ["data.n_samples=3000", "training.epochs=6", "model.hidden_dim=16", "rival=false"]
SWEEP += ["pruner.name=none", "certify=false", "max_concurrent=1"]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_sweeps_of_one_name_share_a_cluster(tmp_path: Path) -> None:
    """Each has half of the cluster by `max_concurrent`, and its own trials, files and figures."""
    people = {"ada": 5, "bob": 6}
    with head(tmp_path) as cluster:
        environment = {**cluster.environment, "RAY_ADDRESS": cluster.gcs}
        running = {}
        for name, n_trials in people.items():
            (tmp_path / name).mkdir()
            with (tmp_path / name / "log").open("w") as log:
                running[name] = subprocess.Popen(
                    [*SWEEP, f"n_trials={n_trials}", f"seed={n_trials}"],
                    cwd=tmp_path / name,
                    env=environment,
                    stdout=log,
                    stderr=log,
                )
        together = 0
        deadline = time.monotonic() + 600
        while any(process.poll() is None for process in running.values()):
            assert time.monotonic() < deadline
            together += all(_trains(tmp_path / name) for name in people)
            time.sleep(0.5)
    for name, process in running.items():
        assert process.returncode == 0, (tmp_path / name / "log").read_text()
    assert together > 0, "one waited for the end of the other"
    for name, n_trials in people.items():
        folder = tmp_path / name / "runs" / "night-1"
        summary = json.loads((folder / "summary.json").read_text())
        assert summary["trials"]["complete"] == n_trials
        trials = pd.read_parquet(folder / "trials.parquet")
        assert list(trials["number"]) == list(range(n_trials))
        rows = sorted((folder / "rows").glob("trial-*.jsonl")) or [folder / "rows.jsonl.gz"]
        assert rows
        others = [other for other in people if other != name]
        logs = "".join(p.read_text(errors="replace") for p in folder.rglob("*.log"))
        assert not any(os.fspath(tmp_path / other) in logs for other in others)


def _trains(home: Path) -> bool:
    """Whether a sweep has reported and has not ended."""
    folder = home / "runs" / "night-1"
    try:
        status = json.loads((folder / "summary.json").read_text())["status"]
    except (OSError, ValueError):
        return False
    return status == "running" and any((folder / "rows").glob("trial-*.jsonl"))
