"""``python -m jamba_ray.sync run=<run>``: send a run to W&B, or what of it is not there yet."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys

from rich.console import Console

from jamba_ray.cli.entry import Command
from jamba_ray.config.mistakes import validate
from jamba_ray.config.sync import SyncConfig
from jamba_ray.config.tracking import TrackingSection
from jamba_ray.errors import ExitCode, UnavailableError
from jamba_ray.reports.run import Run, find_run
from jamba_ray.tracking.cursor import Cursor
from jamba_ray.tracking.follower_process import check_tracking, command

ABOUT = (
    "Send a run to Weights & Biases: each trial, curve and artifact once, however often you ask."
)
EXAMPLES = """\
  python -m jamba_ray.sync run=night-1
  python -m jamba_ray.sync run=/mnt/runs/night-1 project=threats entity=blue-team
"""


def run(config: SyncConfig, console: Console) -> ExitCode:
    """Send what W&B does not have of the run.

    Raises:
        UnavailableError: W&B did not take everything.
        StorageError: There is no such run.
    """
    found = Run(find_run(config.run, config.store))
    section = validate(
        TrackingSection, {**found.config.get("tracking", {}), "name": "wandb", "tensorboard": False}
    )
    given = {k: v for k in ("project", "entity") if (v := getattr(config, k)) is not None}
    section = validate(TrackingSection, {**section.model_dump(mode="json"), **given})
    check_tracking(section)
    line = [*command(found.folder.path, section, (), online=True), "--once"]
    process = subprocess.Popen(line, stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        code = process.wait(config.timeout_s)
    except subprocess.TimeoutExpired:
        code = ExitCode.INTERRUPTED
    finally:
        with contextlib.suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    cursor = Cursor(found.folder.path)
    if code != ExitCode.OK and cursor.problem is not None:
        raise UnavailableError(
            f"W&B must take the run, but did not: {cursor.problem}. What arrived stays; "
            "check the network and `wandb login`, then ask again."
        )
    if cursor.pending:
        console.print(
            f"Sent what there is of {found.name}; {cursor.pending} of its runs have not ended yet.",
            highlight=False,
        )
    else:
        console.print(f"W&B has all of {found.name}.", highlight=False)
    return ExitCode.OK


COMMAND = Command(
    name="sync", about=ABOUT, examples=EXAMPLES, section=SyncConfig, primary="sync", run=run
)

if __name__ == "__main__":
    sys.exit(COMMAND.main())
