"""Runs on the cluster for ``jamba_ray.submit``: starts the sweep, then sends its result.

``python -m jamba_ray.cli.job run=<name> <the sweep's settings>``
"""

from __future__ import annotations

import ctypes
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from jamba_ray.cli.composition import compose_section
from jamba_ray.cli.flags import split_flags
from jamba_ray.cluster.job_result import killed_by, pack
from jamba_ray.config.run import SweepConfig
from jamba_ray.errors import JambaError
from jamba_ray.runs.run_folder import RunFolder

_PR_SET_PDEATHSIG = 1


def main(overrides: Sequence[str]) -> int:
    """Runs the sweep in a process of its own; returns its exit code."""
    # A stop reaches the sweep too (Ray signals every process of a job): the sweep saves its state,
    # and this process stays to send the result.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    sweep = subprocess.Popen(
        [sys.executable, "-m", "jamba_ray.sweep", *overrides], preexec_fn=_end_with_parent
    )
    code = sweep.wait()
    if code < 0:
        print(
            f"error: the sweep was killed by {signal.Signals(-code).name}; what it acknowledged is "
            "saved, and `resume=true` continues.",
            flush=True,
        )
        code = killed_by(-code)
    print("\n".join(pack(code, _run_folder(overrides))), flush=True)
    return code


def _end_with_parent() -> None:
    """Makes the kernel stop the sweep (SIGTERM) when its parent process dies.

    Otherwise nothing would observe the sweep, and the job that continues it would find the run in
    use.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _run_folder(overrides: Sequence[str]) -> Path | None:
    """Returns the sweep's run folder, from the same configuration as the sweep's own."""
    try:
        flags, words = split_flags(overrides)
        config = compose_section(SweepConfig, "config", words, flags.config_dir)
    except JambaError:
        return None  # the sweep has reported the mistake
    if config.run is None:
        return None
    folder = RunFolder.of(config.store, config.run, config.store_endpoint).path
    return folder if folder.is_dir() else None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
