"""How a job that sent nothing home is understood."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest
from rich.console import Console

from jamba_ray.cluster import job_result
from jamba_ray.cluster.job_client import JobState
from jamba_ray.cluster.submission import Submission, exit_code
from jamba_ray.cluster.upload import Upload
from jamba_ray.errors import ExitCode


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        ("SUCCEEDED", 0, ExitCode.OK),
        ("SUCCEEDED", None, ExitCode.OK),
        ("FAILED", int(ExitCode.DATA), ExitCode.DATA),
        ("FAILED", 1, ExitCode.UNAVAILABLE),  # Python did not find jamba_ray
        ("FAILED", 127, ExitCode.UNAVAILABLE),  # nor the shell Python
        ("FAILED", None, ExitCode.UNAVAILABLE),  # the node went with the job
        ("FAILED", -signal.SIGKILL, ExitCode.INTERRUPTED),
        ("FAILED", 128 + signal.SIGKILL, ExitCode.INTERRUPTED),
        ("FAILED", 128 + signal.SIGTERM, ExitCode.INTERRUPTED),
        ("FAILED", 128 + signal.SIGSEGV, ExitCode.INTERNAL),
        ("STOPPED", None, ExitCode.INTERRUPTED),
    ],
)
def test_every_end_is_a_documented_exit_code(status, code, expected):
    assert exit_code(JobState(status, code, ""), None) is expected


def test_what_the_sweep_said_counts():
    found = job_result.JobResult(int(ExitCode.SOME_FAILED), "night", {})
    assert exit_code(JobState("FAILED", 1, ""), found) == ExitCode.SOME_FAILED


class SlowJobs:
    """A cluster with one job, which ends when it has been asked to stop."""

    def __init__(self, pauses_s):
        self.stopped, self._ended, self._pauses_s = 0, threading.Event(), pauses_s

    def state(self, job):
        return JobState("RUNNING", None, "")

    def follow(self, job, show):
        for pause_s in self._pauses_s:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(pause_s)
        assert self._ended.wait(10), "the job was not asked to stop"
        return JobState("STOPPED", None, "")

    def stop(self, job):
        self.stopped += 1
        self._ended.set()

    def log(self, job):
        return ""


def submission(jobs):
    return Submission(jobs, "key", Console(quiet=True), Upload(Path(), ()))


def test_a_signal_that_timeout_sends_twice_is_one_request():
    jobs = SlowJobs([0.01, 0.01])
    assert submission(jobs).run("true") == (ExitCode.INTERRUPTED, None)
    assert jobs.stopped == 1


def test_a_second_request_leaves_at_once():
    with pytest.raises(SystemExit) as left:
        submission(SlowJobs([1.1, 5.0])).run("true")
    assert left.value.code == ExitCode.INTERRUPTED
