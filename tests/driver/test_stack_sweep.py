"""Real sweeps in stacks on a real Ray, killed and resumed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from jamba_ray.study.reading import read_study

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def run(path: Path, *, kill_after: int | None = None) -> None:
    """Run or resume the sweep at ``path``, or kill it once so many of its trials have ended."""
    command = [sys.executable, "-m", "tests.driver.stack_sweep", str(path)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1
    )
    lines, ended = [], 0
    for line in process.stdout:
        lines.append(line)
        ended += len(line.split()) - 1 if line.startswith("finished") else 0
        if kill_after is not None and ended >= kill_after:
            os.kill(process.pid, signal.SIGKILL)
            break
    process.communicate(timeout=120)
    assert process.returncode == (0 if kill_after is None else -signal.SIGKILL), lines


def test_a_killed_sweep_of_stacks_proposes_and_decides_as_if_nothing_had_happened(tmp_path):
    """Two kills of the driver, at concurrency 1; the whole equals an uninterrupted sweep."""
    run(tmp_path / "whole")
    run(tmp_path / "cut", kill_after=2)
    run(tmp_path / "cut", kill_after=3)
    run(tmp_path / "cut")
    whole, cut = (read_study(tmp_path / name / "study.journal").trials for name in ("whole", "cut"))
    assert len(whole) == 12
    assert [(t.number, t.params, t.state) for t in cut] == [
        (t.number, t.params, t.state) for t in whole
    ]
    for a, b in zip(cut, whole, strict=True):
        assert [step for step, _ in a.curve] == [step for step, _ in b.curve]
        assert [value for _, value in a.curve] == pytest.approx([v for _, v in b.curve], abs=1e-5)
