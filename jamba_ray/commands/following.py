"""A run and its follower: a process of its own, started and ended here, never waited for."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from jamba_ray.commands.log import RunLog
from jamba_ray.config.tracking import TrackingSection
from jamba_ray.errors import ConfigError
from jamba_ray.launch.run_folder import RunFolder
from jamba_ray.reports.files import write_report
from jamba_ray.reports.run import Run
from jamba_ray.tracking.cursor import Cursor

INTERRUPTED_S = 3.0
"""What an interrupted run waits for its follower."""


def check_tracking(section: TrackingSection) -> None:
    """Raise ConfigError if ``tracking`` needs something that is not installed."""
    if section.name == "wandb" and importlib.util.find_spec("wandb") is None:
        raise ConfigError(
            [
                "`tracking.name` 'wandb' needs W&B's client, which is not installed. "
                "Run `pip install 'jamba-ray[wandb]'`, or drop `tracking=wandb`."
            ]
        )


class Following:
    """The follower of a run while the run goes on; none where ``tracking`` asks for none.

    Use it as a context manager: whatever happens, no process is left.
    """

    def __init__(
        self, folder: RunFolder, section: TrackingSection, shape: Sequence[str] = ()
    ) -> None:
        self._folder, self._section = folder, section
        self._process: subprocess.Popen[bytes] | None = None
        if section.name == "wandb":
            Cursor(folder.path).stand(1, None)  # an earlier session's verdict is not this one's
            with open(folder.logs / "tracking.log", "ab") as log:
                self._process = subprocess.Popen(
                    command(folder.path, section, shape),
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=log,
                    # Ctrl-C is for the run, which then tells its follower.
                    start_new_session=True,
                )

    def __enter__(self) -> Following:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.end(INTERRUPTED_S if kind is not None else self._section.close_s)

    def end(self, wait_s: float) -> None:
        """Let the follower send the rest for at most ``wait_s``; the second call does nothing."""
        process, self._process = self._process, None
        if process is None or process.stdin is None:
            return
        with contextlib.suppress(OSError):
            process.stdin.close()
        try:
            process.wait(wait_s)
        except subprocess.TimeoutExpired:
            pass
        finally:
            # Its group: the process itself, if it is late, and W&B's service.
            with contextlib.suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def verdict(self) -> str | None:
        """Why not everything was sent, as a sentence; None where it was."""
        if self._section.name != "wandb":
            return None
        cursor = Cursor(self._folder.path)
        if not cursor.pending and cursor.problem is None and cursor.complete:
            return None
        why = f" ({cursor.problem})" if cursor.problem else ""
        return (
            f"not everything was {'sent to' if self._section.mode == 'online' else 'written for'} "
            f"W&B{why}. Finish it with `python -m jamba_ray.sync run={self._folder.path}`."
        )


def command(
    folder: Path, section: TrackingSection, shape: Sequence[str], *, online: bool | None = None
) -> list[str]:
    """What starts a follower."""
    sends = section.mode == "online" if online is None else online
    return [
        sys.executable,
        "-m",
        "jamba_ray.commands.follow",
        str(folder),
        f"--project={section.project}",
        *([f"--entity={section.entity}"] if section.entity else []),
        *(["--online"] if sends else []),
        *(f"--shape={path}" for path in shape),
    ]


def report(folder: RunFolder, log: RunLog) -> list[str]:
    """Write the report of a run that ended; what a user should know if that failed."""
    try:
        write_report(Run(folder.path))
    except Exception as error:
        # The result is safe in summary.json; a figure must not cost the run its exit code.
        log.write(f"no report: {type(error).__name__}: {error}")
        return [f"the report could not be written ({type(error).__name__}: {error})."]
    return []
