"""A sweep whose Ray ended is interrupted at once, and ended where it hangs."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from jamba_ray.driver.head_watch import HeadWatch, is_alive, kill_sessions
from jamba_ray.driver.signals import Signalled, Signals

SLEEPS = [sys.executable, "-c", "import time; time.sleep(600)"]

LEAVES_ORPHANS = """
import os, subprocess, sys
child = subprocess.Popen(["sleep", "600"], process_group=0)
print(child.pid, flush=True)
"""


@pytest.fixture
def head():
    with subprocess.Popen(SLEEPS) as process:
        yield process
        process.kill()


def test_the_main_thread_is_interrupted_wherever_it_is(head):
    signals = Signals()
    watch = HeadWatch({"gcs_server": head}, signals.stop)

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
        with signals, HeadWatch({"raylet": head}, signals.stop):
            head.kill()
            head.wait()
            raise OSError("the study's server is gone")

    with pytest.raises(OSError, match="server is gone"):
        sweep()
    assert signals.name == "The end of Ray's raylet on this machine"


def test_while_all_is_well_nothing_happens(head):
    signals = Signals()
    with signals, HeadWatch({"gcs_server": head}, signals.stop) as watch:
        time.sleep(0.6)
    assert watch.lost is None
    assert signals.name is None
    with HeadWatch({}, signals.stop) as watch:
        pass  # somebody else's cluster
    assert signals.name is None


def test_a_session_is_killed_with_those_whose_parent_has_gone():
    words = [sys.executable, "-c", LEAVES_ORPHANS]
    with subprocess.Popen(words, stdout=-1, text=True, start_new_session=True) as leader:
        orphan = int(leader.stdout.readline())
    assert is_alive(orphan)
    kill_sessions([leader.pid])
    assert not is_alive(orphan)
