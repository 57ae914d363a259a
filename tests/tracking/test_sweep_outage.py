"""A W&B server that goes away while a real sweep runs, and a sweep that is stopped meanwhile."""

import signal
import subprocess
import sys
import time

import pytest

from jamba_ray.runs.run_folder import RunFolder
from jamba_ray.study.reading import read_study
from tests.tracking.stub_server import Stub
from tests.tracking.test_wandb import assert_exactly_once, environment

pytest.importorskip("wandb", reason="pip install 'jamba-ray[wandb]'")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

N_TRIALS = 6
SWEEP = [sys.executable, "-m", "jamba_ray.sweep", "+sweep=attention_heads", "run=night-1"]
SWEEP += ["data.n_samples=2000", "training.epochs=2", "model.hidden_dim=8", "pruner.name=none"]
SWEEP += ["tracking=wandb", "tracking.mode=online", "tracking.close_s=5"]


@pytest.fixture
def stub():
    server = Stub()
    yield server
    server.close()


def begin(folder, env, n_trials):
    return subprocess.Popen(
        [*SWEEP, f"n_trials={n_trials}"],
        cwd=folder,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_for(sweep, words):
    """Read until a line begins with ``words``; what was read."""
    said = ""
    for line in sweep.stdout:
        said += line
        if line.startswith(words):
            return said
    raise AssertionError(said)


@pytest.mark.parametrize("fault", ["dropped", "hanging"])
def test_an_outage_costs_no_trial_and_each_row_is_sent_once(stub, tmp_path, fault):
    env = environment(tmp_path, **stub.environment())
    with begin(tmp_path, env, N_TRIALS) as sweep:
        said = wait_for(sweep, "1/")
        # In the middle: some rows are there or on their way, the others are not.
        stub.fault = fault
        said += sweep.stdout.read()
    assert sweep.returncode == 0, said
    assert "jamba-ray sync run=" in said
    folder = RunFolder(tmp_path / "runs" / "night-1")
    assert [t.state for t in read_study(folder.study).trials] == ["complete"] * N_TRIALS
    assert not all(run["finished"] for run in stub.runs.values()) or len(stub.runs) < N_TRIALS
    stub.fault = None
    line = [sys.executable, "-m", "jamba_ray.sync", "run=night-1"]
    for _ in range(2):  # asked again it sends nothing
        done = subprocess.run(line, cwd=tmp_path, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "W&B has all of night-1" in done.stdout
        assert_exactly_once(stub, folder)


def test_ctrl_c_returns_while_the_server_hangs(stub, tmp_path):
    with begin(tmp_path, environment(tmp_path, **stub.environment()), 200) as sweep:
        wait_for(sweep, "2/")
        stub.fault = "hanging"
        time.sleep(4)  # the follower is in the middle of it
        begun = time.monotonic()
        sweep.send_signal(signal.SIGINT)
        said = sweep.stdout.read()
    took = time.monotonic() - begun
    print(f"Ctrl-C with W&B hanging: {took:.1f} s")
    assert sweep.returncode == 75, said
    # 10 s on an idle machine; tests share theirs with others.
    assert took < 30, said
