"""A submitted sweep whose client is killed, whose network goes, whose driver dies."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from jamba_ray.errors import ExitCode
from tests.cluster import jobs
from tests.cluster.heads import Head, head
from tests.cluster.jobs import LONG, SMALL, Submitted
from tests.cluster.proxy import network

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

MIDDLE = [*SMALL, "n_trials=8", "training.epochs=30", "pruner.name=none"]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> Iterator[Head]:
    with head(tmp_path_factory.mktemp("head")) as running:
        yield running


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    return jobs.copy_checkout(tmp_path_factory.mktemp("checkout"))


@pytest.fixture(autouse=True)
def _no_client_is_left() -> Iterator[None]:
    yield
    jobs.end_all()


def test_a_killed_client_leaves_the_job_and_finds_it_again(cluster, checkout, tmp_path):
    arguments = [*MIDDLE, f"submit.results={tmp_path}", "submit.key=killed"]
    first = Submitted(cluster, checkout, *arguments)
    first.until("1/8")
    first.process.kill()
    first.end()
    time.sleep(2)
    assert jobs.drivers("killed"), "the sweep went with its client"

    again = Submitted(cluster, checkout, *arguments)
    assert again.end() == ExitCode.OK, again.log
    assert "job killed runs already; following it" in again.log
    assert "job killed submitted" not in again.log
    assert [n for n in jobs.names(cluster) if n.startswith("killed")] == ["killed"]
    assert _progress(again.log) == list(range(1, 9))
    summary = json.loads((tmp_path / "killed" / "summary.json").read_text())
    assert summary["trials"]["complete"] == 8


def test_a_network_that_comes_back_costs_a_line(cluster, checkout, tmp_path):
    with network(cluster.address) as between:
        arguments = [*MIDDLE, f"submit.results={tmp_path}", "submit.key=cut"]
        running = Submitted(cluster, checkout, *arguments, address=between.address)
        running.until("1/8")
        between.refuse()
        told = running.until("the cluster at")
        assert re.search(
            r"\(connection (refused|closed|reset by peer)\): trying again for 300 s", told
        ), told
        time.sleep(12)
        between.restore()
        assert running.end() == ExitCode.OK, running.log
    assert running.log.count("does not answer") == 1
    assert (
        len(re.findall(r"answers again, after 1\d s|answers again, after 2\d s", running.log)) == 1
    )
    assert _progress(running.log) == list(range(1, 9)), "lines were lost or shown twice"
    assert (tmp_path / "cut" / "summary.json").exists()


def test_a_stop_reaches_the_sweep_when_the_network_is_back(cluster, checkout, tmp_path):
    with network(cluster.address) as between:
        arguments = [*LONG, f"submit.results={tmp_path}", "submit.key=stop"]
        running = Submitted(cluster, checkout, *arguments, address=between.address)
        running.until("1/60")
        between.refuse()
        running.until("the cluster at")
        running.process.send_signal(signal.SIGTERM)
        time.sleep(5)
        assert running.process.poll() is None
        between.restore()
        assert running.end(120) == ExitCode.INTERRUPTED, running.log
    assert running.log.count("does not answer") == 1
    assert running.log.count("answers again") == 1
    assert "SIGTERM: the sweep is asked to stop" in running.log
    summary = json.loads((tmp_path / "stop" / "summary.json").read_text())
    assert summary["status"] == "interrupted"


def test_a_network_that_is_gone_and_a_driver_that_is_killed(cluster, checkout, tmp_path):
    arguments = [*LONG, f"submit.results={tmp_path}", "submit.key=gone"]
    with network(cluster.address) as between:
        cut = Submitted(
            cluster, checkout, *arguments, "submit.patience_s=15", address=between.address
        )
        cut.until("1/60")
        begun = time.monotonic()
        between.swallow()
        assert cut.end(150) == ExitCode.UNAVAILABLE, cut.log
        print(f"gave up {time.monotonic() - begun:.0f} s after the network went")
    assert "has not for 15 s (no answer in time)" in cut.log
    assert cut.log.count("does not answer") == 1
    assert "Traceback" not in cut.log
    assert "Unclosed" not in cut.log
    assert "The same command follows the sweep" in cut.log
    assert "`submit.key=gone`" in cut.log
    assert jobs.drivers("gone"), "the sweep went with its client's network"

    again = Submitted(cluster, checkout, *arguments)
    again.until("2/60")
    for driver in jobs.drivers("gone"):
        os.kill(driver, signal.SIGKILL)
    assert again.end(120) == ExitCode.INTERRUPTED, again.log
    assert "job gone runs already; following it" in again.log
    assert "the sweep was killed by SIGKILL" in again.log
    assert "exit code 75: The same command follows the sweep, or continues it" in again.log
    done = max(_progress(again.log))

    last = Submitted(cluster, checkout, *[*arguments, f"n_trials={done + 2}"])
    assert last.end() == ExitCode.OK, last.log
    assert "job gone.2 submitted" in last.log
    # What was finished is finished: only the rest is trained, and counted on.
    assert min(_progress(last.log)) == done + 1
    summary = json.loads((tmp_path / "gone" / "summary.json").read_text())
    assert summary["trials"]["complete"] >= done + 2


def test_a_job_that_is_killed_whole_is_continued(cluster, checkout, tmp_path):
    """Not the sweep alone: also the process that would send home what is left of it."""
    arguments = [*MIDDLE, f"submit.results={tmp_path}", "submit.key=whole"]
    running = Submitted(cluster, checkout, *arguments)
    running.until("1/8")
    for driver in jobs.drivers("whole"):
        parent = int(Path(f"/proc/{driver}/stat").read_text().rpartition(")")[2].split()[1])
        os.kill(parent, signal.SIGKILL)
    assert running.end(120) == ExitCode.INTERRUPTED, running.log
    assert "job whole ended without a result (FAILED: " in running.log
    assert "exit code 75: The same command" in running.log
    jobs.wait_for("the orphan of a job ends", lambda: not jobs.drivers("whole"), 15)
    again = Submitted(cluster, checkout, *arguments)
    assert again.end() == ExitCode.OK, again.log
    assert "job whole.2 submitted" in again.log
    summary = json.loads((tmp_path / "whole" / "summary.json").read_text())
    assert summary["trials"]["complete"] == 8


def test_a_head_that_does_not_know_the_job_says_so(cluster):
    """As one that was started anew."""
    ask = "from jamba_ray.cluster.job_client import Jobs; Jobs({!r}).follow('never', print)"
    done = subprocess.run(
        [sys.executable, "-c", ask.format(cluster.address)],
        env=cluster.environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "UnavailableError: the cluster must know job 'never', but does not" in done.stderr


def _progress(log: str) -> list[int]:
    """The counts of finished trials that were shown: ``3/8 trial 2 complete ...``."""
    return [int(n) for n in re.findall(r"^(\d+)/\d+ ", log, flags=re.M)]
