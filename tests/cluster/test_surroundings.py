"""What is said of surroundings in which Ray cannot be started or reached, and how soon."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import pytest

from jamba_ray.cluster import surroundings
from jamba_ray.cluster.surroundings import (
    cluster_mistake,
    object_store_bytes,
    surroundings_mistake,
)
from jamba_ray.errors import UnavailableError
from jamba_ray.runs.scratch import LONGEST_BELOW, socket_folder
from tests.commands import run_here

SETTINGS = bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])


@contextlib.contextmanager
def server(answer: bytes | None):
    """A server that sends ``answer`` and closes; None: it accepts and is silent, as a head that was
    stopped does. Yields its address as Ray would be given it."""
    with socket.create_server(("", 0)) as listening:
        kept = []

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    line, _ = listening.accept()
                    kept.append(line)
                    if answer is not None:
                        line.sendall(answer)
                        line.shutdown(socket.SHUT_WR)

        threading.Thread(target=serve, daemon=True).start()
        yield f"127.0.0.1:{listening.getsockname()[1]}"
        for line in kept:
            line.close()


def free_port() -> int:
    with socket.create_server(("", 0)) as one:
        return int(one.getsockname()[1])


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (SETTINGS, None),
        (SETTINGS[:4], "no head of Ray"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "no head of Ray"),
        (b"", "no head of Ray"),
        (None, "timed out"),
    ],
)
def test_who_answers_at_a_clusters_address(answer, said, monkeypatch):
    monkeypatch.setattr(surroundings, "ANSWER_S", 1.0)
    begun = time.monotonic()
    with server(answer) as address:
        mistake = cluster_mistake(address)
    assert time.monotonic() - begun < 5
    assert mistake is None if said is None else said in mistake


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("http://127.0.0.1:8265", "`<host>:<port>`"),
        ("10.0.0.1", "`<host>:<port>`"),
        ("10.0.0.1:port", "`<host>:<port>`"),
        ("no-such-host.invalid:6379", "must answer"),
        ("auto", None),
    ],
)
def test_addresses_that_are_none(address, said):
    mistake = cluster_mistake(address)
    assert mistake is None if said is None else said in mistake


def test_a_dead_address_ends_a_sweep_and_its_plan_at_once(tmp_path, monkeypatch):
    """Ray itself asks for ten minutes, and prints what its compiled code logs meanwhile."""
    address = f"127.0.0.1:{free_port()}"
    arguments = ["+sweep=learning_rate", "model=mlp", "data.n_samples=400", f"store={tmp_path}"]
    process = partial(
        subprocess.run,
        [sys.executable, "-m", "jamba_ray.sweep", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
    )
    # Named: a name that is made up is kept until the process ends.
    plan = partial(run_here, "sweep", *arguments, "dry_run=true", "run=x", cwd=Path.cwd())
    monkeypatch.setenv("RAY_ADDRESS", address)
    for run in (process, plan):
        begun = time.monotonic()
        done = run()
        assert done.returncode == 69
        assert done.stderr.count("\n") == 1
        assert f"Ray must answer at {address}" in done.stderr
        assert time.monotonic() - begun < 60  # 30 s of its own on a free machine
    assert list(tmp_path.glob("*")) == []


def test_a_small_address_space_is_named(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert surroundings_mistake() is None
    monkeypatch.setattr(resource, "getrlimit", lambda which: (2_500_000_000, -1))
    assert "`ulimit -v unlimited`" in str(surroundings_mistake())


def test_the_object_store_fits_into_the_address_space(monkeypatch):
    free = object_store_bytes()
    monkeypatch.setattr(resource, "getrlimit", lambda which: (4_200_000_000, -1))
    assert object_store_bytes() == min(free, 200_000_000)


@pytest.fixture
def long_temporary(tmp_path, monkeypatch):
    long = tmp_path / "a-rather-long-scratch-directory" / "slurm_jobdir"
    long.mkdir(parents=True)
    monkeypatch.setattr("tempfile.tempdir", str(long))
    return long


def test_sockets_go_where_their_path_is_short(long_temporary):
    assert len(os.fsencode(socket_folder())) <= LONGEST_BELOW


def test_a_folder_that_others_may_change_is_passed_over(long_temporary):
    short = Path(f"/tmp/jr{os.getpid()}")
    short.mkdir()
    try:
        short.chmod(0o700)
        assert socket_folder([str(short)]) == short
        short.chmod(0o777)
        with pytest.raises(UnavailableError, match="TMPDIR"):
            socket_folder([str(short), "/nowhere"])
        short.chmod(0o1777)
        assert socket_folder(["/nowhere", str(short)]) == short
    finally:
        short.rmdir()
