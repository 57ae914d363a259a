"""A sweep whose Ray ended is interrupted at once, and ended where it hangs."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from jamba_ray.driver.head_watch import HeadWatch
from jamba_ray.driver.signals import Signalled, Signals
from jamba_ray.errors import ExitCode

SLEEPS = [sys.executable, "-c", "import time; time.sleep(600)"]

HANGS = """
import subprocess, sys, time
from jamba_ray.driver.head_watch import HeadWatch
head, raylet = (subprocess.Popen(["sleep", "600"]) for _ in range(2))
print(raylet.pid, flush=True)
processes = {"gcs_server": head, "raylet": raylet}
with HeadWatch(processes, lambda why: None, "stopped the sweep.", grace_s=0.5):
    head.kill()
    time.sleep(600)
"""


@pytest.fixture
def head():
    with subprocess.Popen(SLEEPS) as process:
        yield process
        process.kill()


def test_the_main_thread_is_interrupted_wherever_it_is(head):
    signals = Signals()
    watch = HeadWatch({"gcs_server": head}, signals.stop, "x")

    def sweep() -> None:
        with signals, watch:
            head.kill()
            time.sleep(60)

    begun = time.monotonic()
    with pytest.raises(Signalled):
        sweep()
    assert time.monotonic() - begun < 20
    assert watch.lost == signals.name == "The end of Ray's gcs_server on this machine"


def test_an_error_that_comes_of_it_before_it_is_seen_is_named_after_it(head):
    signals = Signals()

    def sweep() -> None:
        with signals, HeadWatch({"raylet": head}, signals.stop, "x"):
            head.kill()
            head.wait()
            raise OSError("the study's server is gone")

    with pytest.raises(OSError, match="server is gone"):
        sweep()
    assert signals.name == "The end of Ray's raylet on this machine"


def test_while_all_is_well_nothing_happens(head):
    signals = Signals()
    with signals, HeadWatch({"gcs_server": head}, signals.stop, "x") as watch:
        time.sleep(0.6)
    assert watch.lost is None
    assert signals.name is None
    with HeadWatch({}, signals.stop, "x") as watch:
        pass  # somebody else's cluster
    assert signals.name is None


def test_who_hangs_is_ended_with_the_way_to_go_on_and_the_rest_of_ray_too():
    done = subprocess.run([sys.executable, "-c", HANGS], capture_output=True, text=True, timeout=60)
    assert done.returncode == ExitCode.INTERRUPTED
    assert done.stderr == "error: The end of Ray's gcs_server on this machine stopped the sweep.\n"
    deadline = time.monotonic() + 10
    while subprocess.run(["kill", "-0", done.stdout.strip()], capture_output=True).returncode == 0:
        assert time.monotonic() < deadline, "its raylet lives on"
        time.sleep(0.1)


def test_a_second_signal_ends_the_process_at_once():
    code = """
import os, signal, time
from jamba_ray.driver.signals import Signals
with Signals() as signals:
    for _ in range(2):
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)
        except BaseException:
            print(signals.name, flush=True)
print("went on")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == ExitCode.INTERRUPTED
    assert done.stdout == "SIGTERM\n"
