"""A stack that hangs ends its process, whatever it hangs in; one that reports does not."""

from __future__ import annotations

import math
import subprocess
import sys

from jamba_ray.study.records import TrialOutcome
from tests.study.studies import line, open_study

HUNG = """
import os, sys, time
from pathlib import Path
from jamba_ray.runners.watchdog import Watchdog

def work(how):
    with Watchdog(1.0, Path(how)) as dog:
        report = dog.around(lambda reports: ["continue"])
        for _ in range(4):
            time.sleep(0.6)
            report([])
        print("reported", flush=True)
        if how == "sleep":
            time.sleep(600)
        if how == "native":
            # Holds the interpreter's lock all the while: no Python thread would ever run.
            import ctypes
            ctypes.PyDLL(None).sleep(600)
    print("ended", flush=True)

for how in sys.argv[1:]:
    if not (child := os.fork()):  # one process each, and one import of torch for all
        work(how)
        os._exit(0)
    print(how, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def test_a_hang_ends_the_process_and_says_where_and_a_stack_that_reports_is_left_alone(tmp_path):
    words = [sys.executable, "-c", HUNG, "sleep", "native", "reports"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        *("reported", "sleep 1"),
        *("reported", "native 1"),
        *("reported", "ended", "reports 0"),
    ]
    for how in ("sleep", "native"):
        assert "most recent call first" in (tmp_path / how).read_text()
    assert not (tmp_path / "reports").exists()


def test_the_study_tells_a_hang_from_a_kill(tmp_path):
    now = [1000.0]
    study = open_study(tmp_path, hang_timeout_s=60.0, clock=lambda: now[0])
    hangs, killed = study.ask("s/a").spec, study.ask("s/b").spec
    now[0] += 50
    study.report([line(killed.number, 1, 0.5)])
    now[0] += 15
    study.lost("s/a", "the runner's process was killed")
    study.lost("s/b", "the runner's process was killed")
    records = {r.number: r for r in study.records()}
    assert records[hangs.number].state == "failed"
    assert "reported nothing for `hang_timeout_s` (60 s)" in records[hangs.number].reason
    assert records[killed.number].state == "running", "a kill is forgiven once"
    study.close()


def test_data_that_changed_fail_the_trials_that_run_and_no_more_are_begun(tmp_path):
    study = open_study(tmp_path)
    done, running = study.ask("s/a").spec, study.ask("s/b").spec
    study.finish(TrialOutcome(done.number, "complete", value=0.5))
    study.spoil("flows.csv changed after it was read")
    assert study.report([line(running.number, 1, 0.6)]) == ["stop"]
    study.finish(TrialOutcome(running.number, "stopped", value=math.pi))
    assert "flows.csv changed" in study.ask("s/c").ended
    states = {r.number: (r.state, r.reason) for r in study.records()}
    assert states == {
        done.number: ("complete", None),
        running.number: ("failed", "flows.csv changed after it was read"),
    }
    study.close()
