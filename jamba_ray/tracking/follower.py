"""Sends the new rows of runs to a tracking service, each row once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from jamba_ray.config.plugins import OutageError
from jamba_ray.tracking.cursor import Cursor
from jamba_ray.tracking.tracked_run import Row, TrackedRun

__all__ = ["Channel", "Follower", "OutageError", "Service"]


class Channel(Protocol):
    """Defines an open run in the service."""

    next_step: int
    """The first step that the service does not have."""
    url: str | None
    """Where the service shows the sweep that the run is of; None: nowhere, or not yet."""

    def log(self, rows: Sequence[Row]) -> None:
        """Sends rows from ``next_step`` on."""
        ...

    def close(self, run: TrackedRun | None) -> None:
        """Sends the rest of a run that ended and waits until all is acknowledged.

        ``run`` is None if the run will be continued later. Raises OutageError where rows were not
        acknowledged.
        """
        ...


class Service(Protocol):
    """Defines a tracking service to which runs are sent."""

    how: str
    """Under which name the cursor keeps what was sent, such as 'online' or 'offline'."""
    live: bool
    """Whether a run may be opened before its end."""

    def close(self) -> None:
        """Deletes temporary files."""
        ...

    def open(self, run: TrackedRun) -> Channel:
        """Begins or continues a run; raises OutageError."""
        ...


class Follower:
    """Sends whatever the cursor does not list as sent; call ``follow`` again when there is more."""

    def __init__(self, service: Service, cursor: Cursor) -> None:
        self._service, self._cursor = service, cursor
        self._open: dict[str, Channel] = {}

    def follow(self, runs: Sequence[TrackedRun]) -> int:
        """Sends the new rows of all runs and returns how many runs are not completely sent.

        Raises:
            OutageError: The service accepts nothing more; the cursor has what it acknowledged.
        """
        pending = [r for r in runs if not self._cursor.has(self._service.how, r.id, r.state)]
        for run in pending:
            if run.ended or (self._service.live and run.rows):
                self._send(run)
        left = sum(1 for r in runs if not self._cursor.has(self._service.how, r.id, r.state))
        self._cursor.stand(
            left, None, complete=bool(runs) and not left and all(r.ended for r in runs)
        )
        return left

    def close(self) -> None:
        """Closes runs that have not ended; raises OutageError."""
        while self._open:
            _, channel = self._open.popitem()
            channel.close(None)

    def _send(self, run: TrackedRun) -> None:
        channel = self._open.get(run.id)
        if channel is None:
            channel = self._open[run.id] = self._service.open(run)
            self._cursor.shown_at(channel.url)
        channel.log([row for row in run.rows if row.step >= channel.next_step])
        if run.ended:
            del self._open[run.id]
            channel.close(run)
            self._cursor.note(self._service.how, run.id, run.state)
