"""The second process redraws a line while the first one lets no thread run, and not otherwise."""

import os
import pty
import re
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jamba_ray.cli.stand_in import StandIn

HELD = """
import re, sys, time
from rich.console import Console
from jamba_ray.cli.phases import Phases

console = Console(force_terminal=True, width=60)
with Phases(console) as phases:
    phases.begin("waiting")
    time.sleep(1.3)
    phases.begin("starting Ray")
    time.sleep(0.3)
    print("HELD", file=sys.__stderr__, flush=True)
    sys.setswitchinterval(1000)  # no other thread of this process runs from here
    end = time.monotonic() + 2.0
    while time.monotonic() < end:
        pass
    sys.setswitchinterval(0.005)
    print("FREE", file=sys.__stderr__, flush=True)
print("done", flush=True)
"""


@pytest.fixture
def terminal():
    ours, its = pty.openpty()
    with os.fdopen(its, "w") as file:
        yield ours, file
    os.close(ours)


def read(ours, seconds):
    """What is written to the terminal in this time."""
    found, end = b"", time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        if select.select([ours], [], [], left)[0]:
            found += os.read(ours, 1 << 16)
    return found.decode()


def test_a_line_counts_on_while_the_interpreter_is_held(terminal):
    ours, file = terminal
    process = subprocess.Popen(
        [sys.executable, "-c", HELD],
        env={**os.environ, "TERM": "xterm"},
        stdout=file,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    assert process.stderr.readline() == "HELD\n"
    read(ours, 0.2)
    during = read(ours, 1.6)
    assert process.wait(30) == 0
    process.stderr.close()
    assert "\r\x1b[2K" in during
    assert "starting Ray, 1 s" in during
    after = read(ours, 0.2)
    assert after.rstrip().endswith("done")
    assert "starting Ray" not in after.partition("done")[2]


def test_it_draws_only_what_it_was_last_told_and_nothing_after_its_end(terminal):
    ours, file = terminal
    stand_in = StandIn(file)
    for _ in range(10):
        stand_in.tell(["looking", "9 rows"], time.monotonic() - 61, 60, is_dim=False)
        time.sleep(0.1)
    assert read(ours, 0.1) == ""  # it was told all the time
    assert re.search(r"looking, 1 min 0\d s, 9 rows", read(ours, 1.2))
    stand_in.tell([], 0.0, 60, is_dim=False)
    read(ours, 0.1)
    assert read(ours, 0.9) == ""
    stand_in.tell(["looking"], time.monotonic(), 60, is_dim=False)
    stand_in.end()
    stand_in.tell(["looking"], time.monotonic(), 60, is_dim=False)
    assert read(ours, 0.9) == ""


def test_there_is_none_without_a_terminal(tmp_path):
    with (tmp_path / "log").open("w") as file, pytest.raises(OSError, match="terminal"):
        StandIn(file)


def test_it_ends_with_the_process_that_it_stands_in_for(terminal):
    _, file = terminal
    code = (
        "import os, sys; from jamba_ray.cli.stand_in import StandIn; one = StandIn(sys.stdout); "
        "print(one._process.pid, file=sys.stderr, flush=True); os.kill(os.getpid(), 9)"
    )
    killed = subprocess.run([sys.executable, "-c", code], stdout=file, stderr=subprocess.PIPE)
    pid, end = int(killed.stderr), time.monotonic() + 10
    command = Path(f"/proc/{pid}/cmdline")  # empty once it has ended
    while command.exists() and command.read_text():
        assert time.monotonic() < end
        time.sleep(0.02)
