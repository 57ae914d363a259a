"""Sends runs to a tracker of a plug-in: whatever it raises is an outage of it, and costs no row."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jamba_ray.config.plugins import TRACKERS, OutageError
from jamba_ray.errors import one_line
from jamba_ray.tracking.tracked_run import Row, TrackedRun


class PluginTracker:
    """Implements ``Service`` with what a plug-in registered by ``jamba_ray.plugins.tracker``."""

    live = True

    def __init__(self, name: str, folder: Path, project: str) -> None:
        """Raises OutageError where the plug-in's service cannot be made."""
        self.how, self._title = name, TRACKERS[name].title
        with _raising_outages(self._title):
            self._service: Any = TRACKERS[name].make(folder, project)

    def open(self, run: TrackedRun) -> _Channel:
        """Begins or continues a run; raises OutageError."""
        with _raising_outages(self._title):
            return _Channel(self._service.open(run), self._title)

    def close(self) -> None:
        """Closes the plug-in's service, if it can be closed."""
        close: Callable[[], Any] | None = getattr(self._service, "close", None)
        if close is not None:
            with _raising_outages(self._title):
                close()


class _Channel:
    """Implements ``Channel`` with a run that a plug-in opened."""

    def __init__(self, opened: Any, title: str) -> None:
        self._opened, self._title = opened, title
        self.next_step = int(opened.next_step)
        url = getattr(opened, "url", None)
        self.url = None if url is None else str(url)

    def log(self, rows: Sequence[Row]) -> None:
        if rows:
            with _raising_outages(self._title):
                self._opened.log(rows)
            self.next_step = rows[-1].step + 1

    def close(self, run: TrackedRun | None) -> None:
        with _raising_outages(self._title):
            self._opened.close(run)


@contextmanager
def _raising_outages(title: str) -> Iterator[None]:
    try:
        yield
    except OutageError:
        raise
    except Exception as error:
        raise OutageError(f"the tracker {title} raised {one_line(error)}") from error
