"""Data-parallel training as a user runs it: real commands, and what is left of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ray.util.state import list_actors, list_placement_groups

from tests.cluster.heads import head
from tests.commands import run_here

ROOT = Path(__file__).parents[2]
SMALL = ["model=mlp", "data.n_samples=4000", "training.epochs=1", "rival=false"]


def run(command, *overrides, store, expect=0, environment=os.environ):
    words = [sys.executable, "-m", f"jamba_ray.{command}", f"store={store}", *overrides]
    environment = {**environment, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        words, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == expect, done.stdout + done.stderr
    return done.stdout + done.stderr


def summary(folder: Path):
    return json.loads((folder / "summary.json").read_text())


@pytest.mark.slow
def test_train_with_two_workers_equals_one(tmp_path):
    for workers in (1, 2):
        run(
            "train",
            *SMALL,
            "model.norm=layer",
            f"workers={workers}",
            f"run=w{workers}",
            store=tmp_path,
        )
    one, two = (summary(tmp_path / f"w{workers}") for workers in (1, 2))
    assert [step for step, _ in one["curve"]] == [step for step, _ in two["curve"]]
    for (_, a), (_, b) in zip(one["curve"], two["curve"], strict=True):
        assert a == pytest.approx(b, abs=1e-3)
    assert (tmp_path / "w2" / "best" / "model.safetensors").exists()


@pytest.mark.slow
def test_a_sweep_with_two_workers_per_trial(tmp_path):
    run(
        "sweep",
        "+sweep=learning_rate",
        *SMALL,
        "workers_per_trial=2",
        "max_concurrent=1000",
        "n_trials=3",
        "run=s",
        store=tmp_path,
    )
    report = summary(tmp_path / "s")
    assert report["status"] == "ok"
    assert report["trials"].get("failed", 0) == 0
    assert any("runner" in note and "2 workers" in note for note in report["notes"]), (
        "said, as asked"
    )


ANOTHER_RAY = """
from jamba_ray.driver.ray_session import ray_session
with ray_session():
    print("up", flush=True)
    input()
"""


@pytest.fixture
def another_ray():
    """A Ray of somebody else on this machine."""
    words = [sys.executable, "-c", ANOTHER_RAY]
    with subprocess.Popen(words, cwd=ROOT, stdin=-1, stdout=-1, text=True) as process:
        assert process.stdout.readline() == "up\n"
        yield
        process.communicate("\n")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_on_a_cluster_beside_another_ray_nothing_is_left(tmp_path, another_ray):
    """With the dashboard on, which all other tests do without; Ray Train's own clean-up asks it."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    with head(tmp_path / "cluster", token=False) as cluster:
        environment = {
            **cluster.environment,
            "RAY_ADDRESS": cluster.gcs,
            "TMPDIR": str(temporary),
        }
        run("train", *SMALL, "workers=2", "run=c", store=tmp_path, environment=environment)
        assert summary(tmp_path / "c")["status"] == "ok"
        assert list(temporary.iterdir()) == []
        alive = [("state", "!=", "DEAD")]
        assert list_actors(cluster.address, filters=alive) == []
        there = [("state", "!=", "REMOVED")]
        assert list_placement_groups(cluster.address, filters=there) == []


def test_what_cannot_be_is_refused_within_ten_seconds(tmp_path):
    begun = time.monotonic()
    done = run_here("train", *SMALL, "workers=4000", f"store={tmp_path}", "run=x", cwd=tmp_path)
    assert time.monotonic() - begun < 10
    assert done.returncode == 69
    assert "`workers` must be at most" in done.stderr
    settings = ("model=lightgbm", "workers=2", f"store={tmp_path}", "run=y")
    done = run_here("train", *SMALL, *settings, cwd=tmp_path)
    assert done.returncode == 64
    assert "`workers` must be 1 for `model.name=lightgbm`" in done.stderr
