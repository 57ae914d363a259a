"""A cluster that nobody uses ends itself: when, where, and in which order."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from jamba_ray.cluster import down
from jamba_ray.cluster.nodes import BOOTSTRAP
from jamba_ray.cluster.ray_private import PrivateName
from jamba_ray.config.cluster import ClusterSection
from jamba_ray.errors import ConfigError
from tests.cluster import files
from tests.cluster.heads import head
from tests.cluster.operating import wait_for

BUCKET = "s3://bucket/sweeps"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def bootstrapped(home: Path, kind: str) -> None:
    (home / BOOTSTRAP).write_text(yaml.safe_dump({**files.load(kind)}))


def test_time_without_a_job_is_counted_and_what_is_unknown_is_busy() -> None:
    clock = Clock()
    idle = down.Idle(60.0, clock)
    for at, running, is_over in [
        (30.0, 0, False),
        (59.0, 1, False),
        (118.0, 0, False),
        (119.0, 0, True),
        (500.0, None, False),  # a head that does not answer may train
        (559.0, 0, False),
        (560.0, 0, True),
    ]:
        clock.now = at
        assert idle.is_over(running) is is_over, at


@pytest.mark.parametrize("kind", ["aws", "gcp", "local"])
def test_the_clusters_of_ray_up_may_end(home: Path, kind: str) -> None:
    bootstrapped(home, kind)
    down.require(10.0, BUCKET, "auto")
    down.require(None, "runs", None)


def test_where_nothing_can_be_ended_it_is_refused(home: Path) -> None:
    for cluster in (None, "auto"):
        with pytest.raises(ConfigError, match=r"A RayJob and a Slurm job end|a RayJob and a Slurm"):
            down.require(10.0, BUCKET, cluster)
    (home / BOOTSTRAP).write_text("provider: {type: azure}")
    with pytest.raises(ConfigError, match="of another kind"):
        down.require(10.0, BUCKET, "auto")


@pytest.mark.parametrize("kind", ["aws", "gcp"])
def test_a_store_on_the_head_is_refused_where_the_head_is_deleted(home: Path, kind: str) -> None:
    bootstrapped(home, kind)
    with pytest.raises(ConfigError, match=r"`store` is 'runs' on it\. Give a bucket"):
        down.require(10.0, "runs", "auto")
    bootstrapped(home, "local")
    down.require(10.0, "runs", "auto")


def test_less_than_a_minute_is_refused() -> None:
    with pytest.raises(ValueError, match="greater than or equal to 1"):
        ClusterSection(down_after=0.5)


class Provider:
    """A cloud with a head and two workers."""

    def __init__(self) -> None:
        self.deleted: list[list[str]] = []

    def non_terminated_nodes(self, tags: dict[str, str]) -> list[str]:
        return ["i-head"] if tags else ["i-head", "i-1", "i-2"]

    def terminate_nodes(self, nodes: list[str]) -> None:
        self.deleted.append(list(nodes))


@pytest.mark.parametrize(
    ("kind", "deleted"), [("aws", [["i-1", "i-2"], ["i-head"]]), ("local", [])]
)
def test_the_head_goes_last_and_machines_of_ones_own_stay(
    monkeypatch: pytest.MonkeyPatch, kind: str, deleted: list[list[str]]
) -> None:
    cloud, ran = Provider(), []
    monkeypatch.setattr(PrivateName, "find", lambda name: lambda provider, cluster: cloud)
    monkeypatch.setattr(subprocess, "run", lambda line, **options: ran.append(line[1:]))
    down.end_cluster(files.load(kind), print)
    assert ran == [["stop"]]
    assert cloud.deleted == deleted


def test_rays_own_provider_has_what_is_called() -> None:
    from ray.autoscaler.node_provider import NodeProvider
    from ray.autoscaler.tags import NODE_KIND_HEAD, TAG_RAY_NODE_KIND

    assert (TAG_RAY_NODE_KIND, NODE_KIND_HEAD) == ("ray-node-type", "head")
    assert callable(NodeProvider.non_terminated_nodes)
    assert callable(NodeProvider.terminate_nodes)


def test_two_sweeps_start_one_watcher(home: Path) -> None:
    (home / down.FOLDER).mkdir()
    bootstrapped(home, "local")
    with (home / down.FOLDER / "down.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        line = [sys.executable, "-m", "jamba_ray.cluster.down", "--after=60"]
        done = subprocess.run(line, capture_output=True, text=True, timeout=120)
    assert (done.returncode, "watches this cluster already" in done.stdout) == (0, True)


@pytest.mark.slow
def test_a_head_ends_when_its_jobs_have_ended_and_not_before(tmp_path: Path) -> None:
    """A real head and a real job; `ray` is a stand-in: it would end every Ray of this machine."""
    with head(tmp_path) as cluster:
        home = Path(cluster.environment["HOME"])
        (home / down.FOLDER).mkdir()
        bootstrapped(home, "local")
        tools = tmp_path / "bin"
        tools.mkdir()
        (tools / "python").symlink_to(sys.executable)
        (tools / "ray").write_text('#!/bin/sh\necho "$@" > "$HOME/stopped"\n')
        (tools / "ray").chmod(0o755)
        environment = {**cluster.environment, "RAY_API_SERVER_ADDRESS": cluster.address}
        submit = ["ray", "job", "submit", "--no-wait", f"--address={cluster.address}", "--"]
        job = [*submit, "sleep", "25"]
        subprocess.run(job, env=environment, check=True, capture_output=True, timeout=120)
        begun = time.monotonic()
        code = (
            f"import sys; sys.executable = {str(tools / 'python')!r}\n"
            "from jamba_ray.cluster.down import main; sys.exit(main(['--after=8', '--every=1']))"
        )
        with (tmp_path / "down.log").open("w") as log:
            watcher = subprocess.Popen(
                [sys.executable, "-c", code], env=environment, stdout=log, stderr=log
            )
        try:
            wait_for("the end", (home / "stopped").exists, 120)
        finally:
            watcher.kill()
            watcher.wait()
        assert time.monotonic() - begun >= 25, (tmp_path / "down.log").read_text()
        assert (home / "stopped").read_text() == "stop\n"
        assert os.path.exists(home / ".ray" / "auth_token")
