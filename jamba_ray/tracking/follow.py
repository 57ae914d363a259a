"""Runs the only process that sends a run to a tracker.

``python -m jamba_ray.tracking.follow <run folder> --tracker=wandb``. It reads the files of the run
folder: training never waits for it, and if it dies, the rows are sent later. It imports neither
torch nor Ray.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from jamba_ray.config import plugin_modules
from jamba_ray.config.plugins import TRACKERS
from jamba_ray.errors import ConfigError, ExitCode, JambaError, StorageError
from jamba_ray.tracking.cursor import Cursor
from jamba_ray.tracking.follower import Follower, OutageError, Service
from jamba_ray.tracking.plugin_tracker import PluginTracker
from jamba_ray.tracking.polling import POLL_S, mark, say, step_back, told_to_end
from jamba_ray.tracking.run_reader import tracked_runs
from jamba_ray.tracking.tracked_run import TrackedRun
from jamba_ray.tracking.tracker_keys import add_keys
from jamba_ray.tracking.wandb_client import PATIENCE_S, Wandb

_FIRST_WAIT_S = 5.0
_LONGEST_WAIT_S = 120.0


def main(argv: Sequence[str]) -> int:
    """Sends rows until stdin is closed, then sends the rest; with ``--once`` sends what exists now.

    Exit codes: 0 all was sent, 75 something was not (the cursor says why).
    """
    parser = argparse.ArgumentParser(prog="jamba_ray.tracking.follow")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tracker", required=True)
    parser.add_argument("--plugin", action="append", default=[])
    parser.add_argument("--project", required=True)
    parser.add_argument("--entity")
    parser.add_argument("--uri", default="")
    parser.add_argument("--online", action="store_true")
    parser.add_argument("--once", action="store_true")
    parser.add_argument("--structure", action="append", default=[])
    parser.add_argument("--patience", type=float, default=PATIENCE_S)
    parser.add_argument("--wait", type=float, default=_FIRST_WAIT_S)
    options = parser.parse_args(argv)
    step_back()
    cursor = Cursor(options.folder, options.tracker)
    service: Service | None = None
    ending = options.once
    try:
        add_keys(os.environ)
        service = _service(options)
        follower = Follower(service, cursor)
        seen = None
        while True:
            now = mark(options.folder)
            if ending or now != seen:
                runs = _runs(options.folder, cursor.birth, options.structure, patient=not ending)
                left, seen = follower.follow(runs), now
            if ending:
                follower.close()
                service.close()
                return ExitCode.OK if not left else ExitCode.INTERRUPTED
            ending = told_to_end(POLL_S)
    except OutageError as error:
        say(f"{error}." if ending else f"{error}. It will be tried again.")
        cursor.stand(max(1, cursor.pending), str(error))
    except (JambaError, OSError) as error:
        say(str(error))  # the study does not exist yet, or the disk is full
        with contextlib.suppress(OSError):
            cursor.stand(max(1, cursor.pending), str(error).rstrip("."))
    if ending or told_to_end(options.wait):
        return ExitCode.INTERRUPTED
    # A new process has no state of a broken connection that could send a row twice.
    _end_children()
    if service is not None:
        service.close()
    wait = str(min(_LONGEST_WAIT_S, options.wait * 2))
    arguments = [a for a in argv if not a.startswith("--wait=")]
    command = [
        sys.executable,
        "-m",
        "jamba_ray.tracking.follow",
        *arguments,
        f"--wait={wait}",
    ]
    return _replaced_by(command)


def _service(options: argparse.Namespace) -> Service:
    """Returns the tracker.

    Raises:
        OutageError: Its client is not installed, or what a plug-in makes raises.
        ConfigError: No plug-in that is named has it.
    """
    if options.tracker == "mlflow":
        from jamba_ray.tracking.mlflow_client import Mlflow

        return Mlflow(uri=options.uri, experiment=options.project, patience_s=options.patience)
    if options.tracker != "wandb":
        plugin_modules.load(options.plugin)
        if options.tracker not in TRACKERS:
            raise ConfigError(
                [f"No plug-in has registered the tracker {options.tracker!r}. Name its module."]
            )
        return PluginTracker(options.tracker, options.folder, options.project)
    return Wandb(
        options.folder,
        project=options.project,
        entity=options.entity,
        online=options.online,
        patience_s=options.patience,
    )


def _runs(folder: Path, birth: str, structure: Sequence[str], *, patient: bool) -> list[TrackedRun]:
    """Returns the runs to send; none while the study is still being created."""
    try:
        return tracked_runs(folder, birth, structure)
    except StorageError:
        if patient:
            return []
        raise


def _replaced_by(command: Sequence[str]) -> NoReturn:
    os.execv(command[0], list(command))


def _end_children() -> None:
    """Kills what the tracker's client started, which would continue to retry."""
    for task in Path("/proc/self/task").glob("*/children"):
        for pid in task.read_text().split():
            with contextlib.suppress(OSError, ValueError):
                os.kill(int(pid), signal.SIGKILL)


if __name__ == "__main__":
    code = main(sys.argv[1:])
    # Exit hooks of W&B would wait for a server that does not answer.
    _end_children()
    sys.stdout.flush()
    os._exit(code)
