"""Sends a run, or what they do not have of it yet, to W&B and MLflow: ``python -m
jamba_ray.sync``."""

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
from typing import Any

from rich.console import Console

from jamba_ray.cli.phases import Phases
from jamba_ray.config.mistakes import validate
from jamba_ray.config.tracking import OWN, SyncConfig, TrackingSection, title_of
from jamba_ray.errors import ExitCode, InterruptedRunError, UnavailableError
from jamba_ray.reports.run import Run, find_run
from jamba_ray.runs.file_writes import open_log
from jamba_ray.tracking.cursor import Cursor
from jamba_ray.tracking.follower_process import check_tracking, command
from jamba_ray.tracking.run_reader import tracked_runs

_LOGIN = {"wandb": "`wandb login`", "mlflow": "MLFLOW_TRACKING_TOKEN"}


@dataclass(frozen=True)
class Delivery:
    """Counts a tracker's runs of a run folder (its trials, its baseline, the run itself)."""

    sent: int
    """The tracker has acknowledged their present state."""
    unsent: int
    """They have ended, and the tracker lacks some of them."""
    open: int
    """They have not ended, so the tracker cannot have all of them."""

    @classmethod
    def of(cls, folder: Path, tracker: str = "wandb") -> Delivery:
        """Compares the folder with what the tracker acknowledged.

        Raises:
            StorageError: The study cannot be read.
        """
        cursor = Cursor(folder, tracker)
        runs = tracked_runs(folder, cursor.birth)
        how = "online" if tracker == "wandb" else tracker
        left = [r for r in runs if not cursor.has(how, r.id, r.state)]
        unsent = sum(r.ended for r in left)
        return cls(len(runs) - len(left), unsent, len(left) - unsent)


def run(config: SyncConfig, console: Console) -> ExitCode:
    """Sends what the run's trackers do not have of it.

    Raises:
        UnavailableError: One did not accept everything.
        InterruptedRunError: The time was up, or Ctrl-C came, before everything was sent.
        NoRunError: There is no such run.
    """
    found = Run(find_run(config.run, config.store))
    section = validate(TrackingSection, {**found.config.get("tracking", {}), "tensorboard": False})
    to: tuple[str, ...] = (config.to,) if config.to else section.trackers or ("wandb",)
    asked: dict[str, Any] = {
        "name": "wandb" if "wandb" in to else "local",
        "mlflow": "mlflow" in to,
    }
    asked["also"] = [name for name in to if name not in OWN]
    names = ("project", "entity", "mlflow_uri")
    asked |= {k: v for k in names if (v := getattr(config, k)) is not None}
    section = validate(TrackingSection, {**section.model_dump(mode="json"), **asked})
    check_tracking(section)
    for tracker in to:
        _deliver(found, section, tracker, config, console)
    return ExitCode.OK


def _deliver(
    found: Run, section: TrackingSection, tracker: str, config: SyncConfig, console: Console
) -> None:
    """Sends the run to one tracker and prints what it has; raises what ``run`` raises."""
    folder, title = found.folder.path, title_of(tracker)
    Cursor(folder, tracker).stand(1, None)  # clear the problem of an earlier attempt
    before = Delivery.of(folder, tracker)
    log = found.folder.logs / "tracking.log"
    line = command(folder, section, (), tracker=tracker, online=True, plugins=config.plugins)
    with Phases(console) as phases:
        phases.begin(f"sending {found.name} to {title}")
        stopped, code = _send([*line, "--once"], log, config.timeout_s)
    after = Delivery.of(folder, tracker)
    said = sentence(found.name, before, after, title)
    if stopped is not None and (after.unsent or after.open):
        raise InterruptedRunError(
            f"{title} must have all of {found.name}, but {stopped}. {said} "
            "What arrived stays; ask again, with a longer `timeout_s=` for a slow network."
        )
    problem = Cursor(folder, tracker).problem
    crashed = code not in (ExitCode.OK, ExitCode.INTERRUPTED)
    if after.unsent or problem is not None or (crashed and after.open):
        why = problem or f"the process that sends it ended with exit code {code} (see {log})"
        raise UnavailableError(
            f"{title} must take all of {found.name}, but did not: {why}. {said} "
            f"What arrived stays; check the network and {_LOGIN.get(tracker, title)}, then ask "
            "again."
        )
    if (url := Cursor(folder, tracker).url) is not None:
        said += f" Look at it: {url}"
    console.print(said, highlight=False, markup=False, soft_wrap=True)


def sentence(name: str, before: Delivery, after: Delivery, title: str = "W&B") -> str:
    """Returns a sentence about what a tracker has and lacks of a run after an attempt to send
    it."""
    total, new = after.sent + after.unsent + after.open, max(0, after.sent - before.sent)
    if not after.unsent and not after.open:
        return f"{title} has all of {name} ({total} of its runs; {new} sent now)."
    lacks = [f"{after.unsent} were not sent whole"] if after.unsent else []
    lacks += [f"{after.open} have not ended yet"] if after.open else []
    return (
        f"{title} has {after.sent} of the {total} runs of {name} ({new} sent now); "
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
