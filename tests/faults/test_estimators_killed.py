"""A sweep over families that restart from their first row is killed, and ends as undisturbed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pyarrow.parquet as pq
import pytest

FAMILIES = ("logistic", "random_forest", "extra_trees", "xgboost", "catboost")
ENQUEUED = ",".join(
    f"{{model.name: {name}" + ("}" if name == "logistic" else ", model.n_estimators: 60}")
    for name in FAMILIES
)
SWEEP = [
    "+sweep=families",
    f"enqueue=[{ENQUEUED}]",
    "default_first=false",
    "n_trials=5",
    "max_concurrent=1",
    "sampler.name=random",
    "data.n_samples=1500",
    "rival=false",
]


def begun(folder, *settings):
    return subprocess.Popen(
        [sys.executable, "-m", "jamba_ray.sweep", *SWEEP, *settings],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "COLUMNS": "200"},
    )


def ended(process):
    said = process.communicate(timeout=500)[0]
    assert process.returncode == 0, said
    assert "Traceback" not in said


def values(run):
    assert json.loads((run / "summary.json").read_text())["trials"]["failed"] == 0
    rows = pq.read_table(run / "trials.parquet").to_pylist()
    return {row["number"]: (row["state"], row["value"]) for row in rows}


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_kill_9_in_a_sweep_of_estimators_changes_nothing(tmp_path):
    for package in ("sklearn", "xgboost", "catboost"):
        pytest.importorskip(package)
    ended(begun(tmp_path, "run=whole"))
    process = begun(tmp_path, "run=killed")
    try:
        deadline = time.monotonic() + 300
        # The third trial has reported, so that it is in the middle.
        while not (tmp_path / "runs" / "killed" / "rows" / "trial-0002.jsonl").exists():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    ended(begun(tmp_path, "run=killed", "resume=true"))
    whole = values(tmp_path / "runs" / "whole")
    assert len(whole) == len(FAMILIES)
    assert values(tmp_path / "runs" / "killed") == whole
