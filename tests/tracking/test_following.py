"""The follower as a run starts and ends it: never waited for, never left behind."""

import os
import time

import pytest

from jamba_ray.config.tracking import TrackingSection
from jamba_ray.errors import ConfigError
from jamba_ray.runs.run_folder import RunFolder
from jamba_ray.tracking.cursor import Cursor
from jamba_ray.tracking.follower_process import Following, check_tracking
from jamba_ray.tracking.run_reader import tracked_runs
from tests.tracking.folders import make_run
from tests.tracking.stub_server import Stub

pytest.importorskip("wandb", reason="pip install 'jamba-ray[wandb]'")

ONLINE = TrackingSection(name="wandb", mode="online", close_s=120.0)


def group_lives(pid):
    try:
        os.killpg(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture
def stub(monkeypatch, tmp_path):
    server = Stub()
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    yield server
    server.close()


def test_it_sends_all_and_leaves_no_process(stub, tmp_path):
    folder, _ = make_run(tmp_path / "night-1", n_trials=2)
    with Following(folder, ONLINE) as follower:
        pid = follower._processes[0].pid
    assert follower.verdict() == []
    assert set(stub.runs) == {r.id for r in tracked_runs(folder.path, Cursor(folder.path).birth)}
    assert not group_lives(pid)


def test_an_interrupted_run_waits_three_seconds_for_a_server_that_hangs(stub, tmp_path):
    stub.fault = "hanging"
    folder, _ = make_run(tmp_path / "night-1", n_trials=2)
    follower = Following(folder, ONLINE)
    pid = follower._processes[0].pid
    time.sleep(2)
    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt), follower:
        raise KeyboardInterrupt
    assert time.monotonic() - begun < 10
    assert not group_lives(pid)
    assert "jamba-ray sync run=" in follower.verdict()[0]


def test_local_tracking_starts_nothing(tmp_path):
    follower = Following(RunFolder(tmp_path), TrackingSection())
    assert follower._processes == []
    follower.end(1.0)
    assert follower.verdict() == []


def test_wandb_that_is_not_installed_is_said_before_anything_starts(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="pip install"):
        check_tracking(ONLINE)


def test_a_project_that_is_no_name_is_refused():
    with pytest.raises(ValueError, match="Choose a plain name"):
        TrackingSection(project="a/b")
