"""Starts and ends the follower processes of a run, which never waits for them while it trains."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from jamba_ray.config import command_line
from jamba_ray.config.plugin_modules import as_words
from jamba_ray.config.plugins import TRACKERS
from jamba_ray.config.tracking import OWN, TrackingSection, title_of
from jamba_ray.errors import ConfigError
from jamba_ray.reports.files import write_report
from jamba_ray.reports.run import Run
from jamba_ray.runs.file_writes import RunLog, open_log
from jamba_ray.runs.run_folder import RunFolder
from jamba_ray.tracking.cursor import Cursor
from jamba_ray.tracking.tracker_keys import keys

INTERRUPTED_S = 3.0
"""Seconds for which an interrupted run waits for its follower."""


def check_tracking(section: TrackingSection) -> None:
    """Raises ConfigError if ``tracking`` needs a package that is not installed, a plug-in that is
    not named, or a file of keys that is not private."""
    for name in section.also:
        if name not in TRACKERS:
            known = f" (there are {', '.join(sorted(TRACKERS))})" if TRACKERS else ""
            raise ConfigError(
                [
                    "`tracking.also` must name trackers that plug-ins have registered, but has "
                    f"{name!r}{known}. Name its module too, as in `plugins=[mypkg.threats]`, or "
                    "drop it."
                ]
            )
    if section.trackers:
        keys()
    if section.name == "wandb" and importlib.util.find_spec("wandb") is None:
        raise ConfigError(
            [
                "`tracking.name` 'wandb' needs W&B's client, which is not installed. "
                "Run `pip install 'jamba-ray[wandb]'`, or drop `tracking=wandb`."
            ]
        )
    if section.mlflow and importlib.util.find_spec("mlflow") is None:
        raise ConfigError(
            [
                "`tracking.mlflow` needs MLflow's client, which is not installed. "
                "Run `pip install 'jamba-ray[mlflow]'`, or drop `tracking=mlflow`."
            ]
        )
    if section.tensorboard and importlib.util.find_spec("tensorboard") is None:
        raise ConfigError(
            [
                "`tracking.tensorboard` needs TensorBoard, which is not installed. "
                "Run `pip install 'jamba-ray[tensorboard]'`, or drop `tracking.tensorboard`."
            ]
        )


class Following:
    """Runs the followers that ``tracking`` asks for: W&B, MLflow, TensorBoard files, or none.

    Use it as a context manager: no process is left, whatever happens.
    """

    def __init__(
        self,
        folder: RunFolder,
        section: TrackingSection,
        structure: Sequence[str] = (),
        plugins: Sequence[str] = (),
    ) -> None:
        self._folder, self._section = folder, section
        # A tracker of a plug-in needs its module to finish what an outage left.
        self._plugins = as_words(plugins) if section.also else []
        self._processes: list[subprocess.Popen[bytes]] = []
        self._events: subprocess.Popen[bytes] | None = None
        self._events_code = 0
        for tracker in section.trackers:
            # The result of an earlier session does not count.
            Cursor(folder.path, tracker).stand(1, None)
            line = command(folder.path, section, structure, tracker=tracker, plugins=plugins)
            self._processes.append(self._started(line))
        if section.tensorboard:
            module = "jamba_ray.tracking.follow_tensorboard"
            self._events = self._started([sys.executable, "-m", module, str(folder.path)])

    def _started(self, line: Sequence[str]) -> subprocess.Popen[bytes]:
        with open_log(self._folder.logs / "tracking.log") as log:
            return subprocess.Popen(
                line,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                # Ctrl-C goes to the run, which then ends its followers.
                start_new_session=True,
            )

    def __enter__(self) -> Following:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.end(INTERRUPTED_S if kind is not None else self._section.close_s)

    def end(self, wait_s: float) -> None:
        """Lets the followers write the rest for at most ``wait_s``; a second call does nothing."""
        processes, self._processes = self._processes, []
        events, self._events = self._events, None
        begun = time.monotonic()
        for one in (*processes, events):
            if one is not None and one.stdin is not None:
                with contextlib.suppress(OSError):
                    one.stdin.close()
        if events is not None:
            self._events_code = _ended(events, wait_s)
        for one in processes:
            _ended(one, wait_s - (time.monotonic() - begun))

    def verdict(self) -> list[str]:
        """Returns a sentence for each thing that was not sent or written, with the reason; empty:
        all was."""
        found = [said for tracker in self._section.trackers if (said := self._unsent(tracker))]
        if self._events_code:
            found.append(
                "not everything was written for TensorBoard; "
                f"{self._folder.logs / 'tracking.log'} says why."
            )
        return found

    def shown_at(self) -> dict[str, str]:
        """Returns by tracker where it shows the run: an address, or what opens it or sends it."""
        return shown_at(self._folder.path, self._section)

    def _unsent(self, tracker: str) -> str | None:
        cursor = Cursor(self._folder.path, tracker)
        if not cursor.pending and cursor.problem is None and cursor.complete:
            return None
        why = f" ({cursor.problem})" if cursor.problem else ""
        run = command_line.override("run", str(self._folder.path))
        is_file = tracker == "wandb" and self._section.mode == "offline"
        return (
            f"not everything was {'written for' if is_file else 'sent to'} "
            f"{title_of(tracker)}{why}. Finish it with "
            f"`{command_line.command('sync', run, *self._plugins)}`."
        )


def _ended(process: subprocess.Popen[bytes], wait_s: float) -> int:
    """Waits for a follower that was asked to end, then kills it; returns its exit code."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(max(0.0, wait_s))
    # The process group has the process itself, if it still runs, and W&B's service.
    with contextlib.suppress(OSError):
        os.killpg(process.pid, signal.SIGKILL)
    return process.wait()


def shown_at(folder: Path, section: TrackingSection) -> dict[str, str]:
    """Returns by tracker where it shows the run: an address, or what opens it or sends it."""
    found: dict[str, str] = {}
    for tracker in section.trackers:
        url = Cursor(folder, tracker).url
        if tracker == "wandb" and section.mode == "offline":
            run = command_line.override("run", str(folder))
            found[tracker] = command_line.command("sync", run)
        elif tracker == "mlflow" and (uri := _mlflow_uri(folder, section)).startswith("sqlite:"):
            found[tracker] = f"mlflow ui --backend-store-uri {uri}"
        elif url is not None:
            found[tracker] = url
    return found


def _mlflow_uri(folder: Path, section: TrackingSection) -> str:
    """Returns where MLflow keeps the run; empty: where ``MLFLOW_TRACKING_URI`` says.

    What that says may hold a password, so it is on no command line and in no file.
    """
    known = {**keys(), **os.environ}
    if section.mlflow_uri is None and not known.get("MLFLOW_TRACKING_URI"):
        return f"sqlite:///{folder.resolve().parent / 'mlflow.db'}"
    return section.mlflow_uri or ""


def command(
    folder: Path,
    section: TrackingSection,
    structure: Sequence[str],
    *,
    tracker: str = "wandb",
    online: bool | None = None,
    plugins: Sequence[str] = (),
) -> list[str]:
    """Returns the command line that starts the follower of a tracker."""
    sends = section.mode == "online" if online is None else online
    uri = _mlflow_uri(folder, section) if tracker == "mlflow" else ""
    return [
        sys.executable,
        "-m",
        "jamba_ray.tracking.follow",
        str(folder),
        f"--tracker={tracker}",
        f"--project={section.project}",
        *([f"--uri={uri}"] if uri else []),
        *([f"--entity={section.entity}"] if section.entity else []),
        *(["--online"] if sends else []),
        *(f"--structure={path}" for path in structure),
        *(f"--plugin={text}" for text in plugins if tracker not in OWN),
    ]


def report(folder: RunFolder, log: RunLog) -> list[str]:
    """Writes the report of a run that ended; returns a sentence for the user if that failed."""
    try:
        write_report(Run(folder.path))
    except Exception as error:
        # The result is safe in summary.json; a figure must not cost the run its exit code.
        log.write(f"no report: {type(error).__name__}: {error}")
        return [f"the report could not be written ({type(error).__name__}: {error})."]
    return []
