"""A key in the environment is in nothing that a run writes."""

import subprocess
import sys

import pytest

from tests.tracking.folders import make_run
from tests.tracking.stub_server import KEY, Stub
from tests.tracking.test_wandb import environment, follow

pytest.importorskip("wandb", reason="pip install 'jamba-ray[wandb]'")

CANARY = b"c4nary-5ecret-9f3e"


def files_with(folder, *secrets):
    """Every file below ``folder`` that holds one of ``secrets``."""
    paths = [p for p in folder.rglob("*") if p.is_file()]
    assert len(paths) > 5
    return [str(p) for p in paths if any(secret in p.read_bytes() for secret in secrets)]


def test_the_key_is_in_no_file_that_the_follower_writes(tmp_path):
    stub = Stub()
    folder, _ = make_run(tmp_path / "runs" / "night-1", n_trials=3)
    env = environment(tmp_path, **stub.environment(), CANARY_TOKEN=CANARY.decode())
    try:
        assert follow(folder, env)[0] == 0
        assert follow(folder, env, online=False)[0] == 0
    finally:
        stub.close()
    assert files_with(tmp_path / "runs", KEY.encode(), CANARY) == []
    assert not any(KEY.encode() in body or CANARY in body for body in stub.files.values())
    (folder.path / "leak.txt").write_bytes(b"WANDB_API_KEY=" + KEY.encode())
    assert files_with(tmp_path / "runs", KEY.encode()) == [str(folder.path / "leak.txt")]


@pytest.mark.slow
def test_a_whole_sweep_writes_no_secret(tmp_path):
    stub = Stub()
    env = environment(tmp_path, **stub.environment(), CANARY_TOKEN=CANARY.decode())
    line = [sys.executable, "-m", "jamba_ray.sweep", "+sweep=attention_heads", "n_trials=3"]
    line += ["data.n_samples=1000", "training.epochs=0.5", "model.hidden_dim=8", "run=night-1"]
    line += ["tracking=wandb", "tracking.mode=online"]
    try:
        done = subprocess.run(
            line, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=280
        )
    finally:
        stub.close()
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(stub.runs) == 5  # three trials, the baseline, the sweep
    assert all(run["finished"] for run in stub.runs.values())
    assert KEY not in done.stdout + done.stderr
    assert files_with(tmp_path / "runs", KEY.encode(), CANARY) == []
