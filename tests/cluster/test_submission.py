"""How a job that sent nothing home is understood."""

from __future__ import annotations

import signal

import pytest

from jamba_ray.cluster import job_result
from jamba_ray.cluster.job_client import JobState
from jamba_ray.cluster.submission import exit_code
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
