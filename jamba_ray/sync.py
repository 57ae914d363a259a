"""Sends a run, or what W&B does not have of it yet, to W&B: ``python -m jamba_ray.sync``."""

from __future__ import annotations

import sys

from jamba_ray.cli.commands import SYNC as COMMAND

# Above the other imports, which take seconds: help and mistakes need none of them.
if __name__ == "__main__":
    sys.exit(COMMAND.main())

import contextlib
import os
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from jamba_ray.cli.phases import Phases
from jamba_ray.config.mistakes import validate
from jamba_ray.config.tracking import SyncConfig, TrackingSection
from jamba_ray.errors import ExitCode, InterruptedRunError, UnavailableError
from jamba_ray.reports.run import Run, find_run
from jamba_ray.runs.file_writes import open_log
from jamba_ray.tracking.cursor import Cursor
from jamba_ray.tracking.follower_process import check_tracking, command
from jamba_ray.tracking.run_reader import tracked_runs


@dataclass(frozen=True)
class Delivery:
    """Counts the W&B runs of a run folder (its trials, its baseline, the run itself)."""

    sent: int
    """W&B has acknowledged their present state."""
    unsent: int
    """They have ended, and W&B lacks some of them."""
    open: int
    """They have not ended, so W&B cannot have all of them."""

    @classmethod
    def of(cls, folder: Path) -> Delivery:
        """Compares the folder with what W&B acknowledged.

        Raises:
            StorageError: The study cannot be read.
        """
        cursor = Cursor(folder)
        runs = tracked_runs(folder, cursor.birth)
        left = [r for r in runs if not cursor.has("online", r.id, r.state)]
        unsent = sum(r.ended for r in left)
        return cls(len(runs) - len(left), unsent, len(left) - unsent)


def run(config: SyncConfig, console: Console) -> ExitCode:
    """Sends what W&B does not have of the run.

    Raises:
        UnavailableError: W&B did not accept everything.
        InterruptedRunError: The time was up, or Ctrl-C came, before everything was sent.
        NoRunError: There is no such run.
    """
    found = Run(find_run(config.run, config.store))
    section = validate(
        TrackingSection, {**found.config.get("tracking", {}), "name": "wandb", "tensorboard": False}
    )
    given = {k: v for k in ("project", "entity") if (v := getattr(config, k)) is not None}
    section = validate(TrackingSection, {**section.model_dump(mode="json"), **given})
    check_tracking(section)
    folder = found.folder.path
    Cursor(folder).stand(1, None)  # clear the problem of an earlier attempt
    before = Delivery.of(folder)
    log = found.folder.logs / "tracking.log"
    line = [*command(folder, section, (), online=True), "--once"]
    with Phases(console) as phases:
        phases.begin(f"sending {found.name} to W&B")
        stopped, code = _send(line, log, config.timeout_s)
    after = Delivery.of(folder)
    said = sentence(found.name, before, after)
    if stopped is not None and (after.unsent or after.open):
        raise InterruptedRunError(
            f"W&B must have all of {found.name}, but {stopped}. {said} "
            "What arrived stays; ask again, with a longer `timeout_s=` for a slow network."
        )
    problem = Cursor(folder).problem
    crashed = code not in (ExitCode.OK, ExitCode.INTERRUPTED)
    if after.unsent or problem is not None or (crashed and after.open):
        why = problem or f"the process that sends it ended with exit code {code} (see {log})"
        raise UnavailableError(
            f"W&B must take all of {found.name}, but did not: {why}. {said} "
            "What arrived stays; check the network and `wandb login`, then ask again."
        )
    console.print(said, highlight=False, markup=False, soft_wrap=True)
    return ExitCode.OK


def sentence(name: str, before: Delivery, after: Delivery) -> str:
    """Returns a sentence about what W&B has and lacks of a run after an attempt to send it."""
    total, new = after.sent + after.unsent + after.open, max(0, after.sent - before.sent)
    if not after.unsent and not after.open:
        return f"W&B has all of {name} ({total} of its runs; {new} sent now)."
    lacks = [f"{after.unsent} were not sent whole"] if after.unsent else []
    lacks += [f"{after.open} have not ended yet"] if after.open else []
    return (
        f"W&B has {after.sent} of the {total} runs of {name} ({new} sent now); "
        f"{' and '.join(lacks)}."
    )


def _send(line: Sequence[str], log: Path, timeout_s: float) -> tuple[str | None, int]:
    """Runs the process that sends; returns (why it was stopped early or None, its exit code)."""
    log.parent.mkdir(exist_ok=True)
    with open_log(log) as out:
        process = subprocess.Popen(
            line, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
        )
    stopped = None
    try:
        process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        stopped = f"`timeout_s={timeout_s:g}` was over before"
    except KeyboardInterrupt:
        stopped = "Ctrl-C came before"
    finally:
        with contextlib.suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)
        code = process.wait()
    return stopped, code
