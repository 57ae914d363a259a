"""What a Ray session on this machine starts, and what its workers have loaded before they work."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import pytest

from jamba_ray.driver.preload import is_installed

UNUSED = {"monitor.py", "dashboard.py", "log_monitor.py"}
"""What Ray starts besides its store, its scheduler and their agents."""
LOOK = """
import json, os, sys, ray
from pathlib import Path
from jamba_ray.driver.ray_session import ray_session
from jamba_ray.cluster.resources import Machine
from jamba_ray.driver.preload import PRELOAD

@ray.remote(num_cpus=0)
class Worker:
    def has_torch(self):
        return "torch" in sys.modules

    def variables(self):
        return dict(os.environ)

def scripts():
    # Of the driver's children: agents of other processes may call themselves anything.
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rsplit(")", 1)[1].split()[1])
            words = (stat.parent / "cmdline").read_text().split("\\0")
        except OSError:
            continue
        if parent == os.getpid():
            found |= {Path(word).name for word in words if word.endswith(".py")}
    return sorted(found)

def listening():
    # Addresses of the sockets that the driver and what it started listen at, as the kernel says.
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rsplit(")", 1)[1].split()[1])
        except OSError:
            pass
    ours, inodes = {os.getpid()}, set()
    for _ in range(5):
        ours |= {one for one, parent in parents.items() if parent in ours}
    for one in ours:
        for file in Path(f"/proc/{one}/fd").glob("*"):
            try:
                inodes.add(os.readlink(file))
            except OSError:
                pass
    found = []
    for name in ("tcp", "tcp6", "udp", "udp6"):
        for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]:
            words = line.split()
            if words[3] in ("0A", "07") and f"socket:[{words[9]}]" in inodes:
                found.append(words[1].rpartition(":")[0])
    return found
"""
LOOPBACK = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}
"""127.0.0.1, the same in IPv6, and ::1 as the kernel writes them."""


def look(script: str, **environment: str) -> dict:
    done = subprocess.run(
        [sys.executable, "-c", LOOK + textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=240,
        check=True,
        env={**os.environ, **environment},
    )
    return json.loads(done.stdout.splitlines()[-1])


def test_a_session_starts_what_a_sweep_needs_and_keeps_it_to_itself(tmp_path):
    """In surroundings as a batch system makes them: a long TMPDIR, a home that cannot be written, a
    token of a cluster in the environment, no device."""
    long = tmp_path / "a-rather-long-scratch-directory/slurm_jobdir/1355700/tmp.node0016/user"
    long.mkdir(parents=True)
    seen = look(
        """
        with ray_session(machine=Machine(1)) as session:
            runner = Worker.remote()
            theirs = ray.get(runner.variables.remote())
            token = Path(os.environ["RAY_AUTH_TOKEN_PATH"])
            modes = [oct(path.stat().st_mode & 0o777) for path in (token, token.parent)]
            addresses = listening()
        print(json.dumps([modes, addresses, theirs, token.parent.exists(), dict(os.environ)]))
        """,
        TMPDIR=str(long),
        HOME="/proc",
        RAY_AUTH_TOKEN="of a cluster",
        CUDA_VISIBLE_DEVICES="NoDevFiles",
    )
    modes, addresses, theirs, is_left, after = seen
    assert modes == ["0o600", "0o700"]
    assert len(addresses) > 5
    assert set(addresses) <= LOOPBACK
    assert "RAY_AUTH_TOKEN" not in theirs
    assert not is_left
    assert list(long.iterdir()) == []
    assert after["RAY_AUTH_TOKEN"] == "of a cluster"
    assert not after.keys() & {"RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH"}


@pytest.fixture(scope="module")
def sessions(tmp_path_factory) -> dict:
    """What is seen in three sessions of one process: loading ahead, printing, and Ray by itself."""
    return look(
        f"""
        preload, home = "jamba_ray.driver.worker_preload", {str(tmp_path_factory.mktemp("home"))!r}
        with ray_session(machine=Machine(1), ahead=lambda m: [preload]) as session:
            runner = ray.get(Worker.remote().has_torch.remote())
            study = Worker.options(runtime_env={{"env_vars": {{PRELOAD: "0"}}}}).remote()
            study = ray.get(study.has_torch.remote())
            ahead = [scripts(), session.ahead, runner, study]
        with ray_session(machine=Machine(1), verbose=True) as session:
            runner = ray.get(Worker.remote().has_torch.remote())
            prints = [scripts(), session.ahead, runner]
        os.environ["HOME"] = home
        ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
        bare = [scripts(), listening()]
        print(json.dumps({{"ahead": ahead, "prints": prints, "bare": bare}}))
        """
    )


@pytest.mark.slow
def test_a_session_loads_runners_ahead(sessions):
    assert sessions["ahead"] == [[], ["jamba_ray.driver.worker_preload"], True, False]


@pytest.mark.slow
def test_a_session_that_prints_has_what_prints(sessions):
    assert sessions["prints"] == [["log_monitor.py"], [], False]


@pytest.mark.slow
def test_ray_itself_starts_more_and_listens_to_all(sessions):
    """The twin: ``scripts`` and ``listening`` see them where they are."""
    seen, addresses = sessions["bare"]
    assert set(seen) >= UNUSED
    assert not set(addresses) <= LOOPBACK


@pytest.mark.parametrize(
    ("origin", "package", "same"),
    [
        (
            {"url": "file:///home/me/my%20work", "dir_info": {"editable": True}},
            "/home/me/my work",
            True,
        ),
        ({"url": "file:///home/me/work", "dir_info": {"editable": True}}, "/home/me/other", False),
        ({"url": "file:///home/me/work", "dir_info": {}}, "/home/me/work", False),
        ({"url": "file:///home/me/work", "dir_info": {}}, "{site}", True),
        (None, "{site}", True),
        (None, "/home/me/work", False),
    ],
)
def test_whether_workers_import_what_the_driver_did(origin, package, same, tmp_path, monkeypatch):
    """A checkout that is run from its folder is not what its environment has installed."""
    described = tmp_path / "some_sweeper-1.0.dist-info"
    described.mkdir()
    (described / "METADATA").write_text("Metadata-Version: 2.1\nName: some-sweeper\nVersion: 1.0\n")
    if origin is not None:
        (described / "direct_url.json").write_text(json.dumps(origin))
    monkeypatch.syspath_prepend(tmp_path)
    folder = Path(package.format(site=tmp_path)) / "sweeper"
    assert is_installed("some-sweeper", folder) is same


def test_nothing_is_loaded_ahead_where_nothing_is_installed(tmp_path):
    assert not is_installed("a-package-of-no-name", tmp_path)


STOP = """
import signal, threading, time

def stop_raylet(seconds):
    # Stands in for a machine that is too loaded to run it.
    while True:
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                words = stat.read_text().rsplit(")", 1)[1].split()
                command = (stat.parent / "cmdline").read_text()
            except OSError:
                continue
            if int(words[1]) == os.getpid() and "raylet/raylet" in command.split("\\0")[0]:
                os.kill(int(stat.parent.name), signal.SIGSTOP)
                time.sleep(seconds)
                os.kill(int(stat.parent.name), signal.SIGCONT)
                return
        time.sleep(0.01)
"""


@pytest.mark.slow
def test_a_slow_start_is_waited_for():
    """Ray itself gives up after half a minute."""
    script = """
threading.Thread(target=stop_raylet, args=(40.0,), daemon=True).start()
begun = time.monotonic()
with ray_session(machine=Machine(1)):
    runner = ray.get(Worker.remote().has_torch.remote())
    print(json.dumps([runner, time.monotonic() - begun > 35]))
"""
    assert look(STOP + script) == [False, True]


@pytest.mark.slow
def test_a_session_starts_where_ray_lacks_what_only_saves_time():
    """Another version of Ray: what keeps strangers out is there, nothing else that is private."""
    script = """
    from jamba_ray.cluster import ray_private
    there = ray_private.PrivateName.find
    needed = (
        *(ray_private.OWN_ADDRESS, ray_private.LOCAL_ADDRESS),
        *(ray_private.COMPILED_CONFIG, ray_private.COMPILED_TOKEN),
    )
    ray_private.PrivateName.find = lambda name: there(name) if name in needed else None
    with ray_session(machine=Machine(1)) as session:
        runner = ray.get(Worker.remote().has_torch.remote())
        print(json.dumps([runner, list(session.processes), listening(), scripts()]))
    """
    with tempfile.TemporaryDirectory(prefix="jr-", dir="/tmp") as short:
        runner, watched, addresses, started = look(script, RAY_TMPDIR=short)
    assert (runner, watched) == (False, [])
    assert set(addresses) <= LOOPBACK
    assert set(started) >= UNUSED
