"""Defines the tests that a tracker must pass: each row arrives once, whatever breaks."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from jamba_ray.config import plugin_modules
from jamba_ray.tracking.cursor import Cursor
from jamba_ray.tracking.follower import Follower, OutageError, Service
from jamba_ray.tracking.plugin_tracker import PluginTracker
from jamba_ray.tracking.tracked_run import Row, TrackedRun, run_id

Held = Sequence[tuple[int, Mapping[str, float]]]
"""Rows as a tracker has them: (step, values)."""


class TrackerContract:
    """Checks one tracker: subclass it with the tracker's name, and say what the service holds."""

    tracker: ClassVar[str]
    """As in ``tracking=``."""
    plugins: ClassVar[Sequence[str]] = ()
    """Modules to import first."""

    @classmethod
    def setup_class(cls) -> None:
        """Imports the plug-ins."""
        plugin_modules.load(cls.plugins)

    def service(self, folder: Path) -> Service:
        """Returns the tracker as the process that sends to it makes it."""
        return PluginTracker(self.tracker, folder, "contract")

    def held(self, folder: Path, run: TrackedRun) -> Held:
        """Returns the rows that the service has of a run, in the order in which they came, a row
        that came twice twice; names that begin with '_' may be left out."""
        raise NotImplementedError(f"{type(self).__name__} must say what the service holds")

    def outage(self, folder: Path) -> AbstractContextManager[object] | None:
        """Returns a context in which the service accepts nothing; None: that cannot be had."""
        return None

    def test_each_row_of_each_run_arrives_once(self) -> None:
        """Checks that nothing is missing, and that asking again sends nothing."""
        with _folder() as folder:
            runs = _runs(folder)
            for _ in range(2):
                assert self._follow(folder, runs) == 0
                self._assert_once(folder, runs)

    def test_a_lost_cursor_doubles_no_row(self) -> None:
        """Checks that the service itself is asked which rows it has."""
        with _folder() as folder:
            runs = _runs(folder)
            self._follow(folder, runs)
            for path in folder.glob("tracking*.json"):
                path.unlink()
            assert self._follow(folder, runs) == 0
            self._assert_once(folder, runs)

    def test_a_run_that_goes_on_is_continued(self) -> None:
        """Checks that another process sends the rows that came after the first one ended."""
        with _folder() as folder:
            runs = _runs(folder)
            if not self.service(folder).live:
                return  # it is sent when it has ended
            begun = [replace(run, rows=run.rows[:2], ended=False) for run in runs]
            assert self._follow(folder, begun) == len(runs)
            assert self._follow(folder, runs) == 0
            self._assert_once(folder, runs)

    def test_an_outage_costs_no_row(self) -> None:
        """Checks that a service which accepts nothing is an ``OutageError``, and gets all later."""
        with _folder() as folder:
            runs = _runs(folder)
            if (outage := self.outage(folder)) is None:
                return
            with outage:
                said = self._refusal(folder, runs)
            assert said is not None, f"it took {len(runs)} runs in an outage"
            assert said.strip(), "an outage says why, in one sentence"
            assert not said.endswith("."), "the sentence goes on, so that it has no full stop"
            assert self._follow(folder, runs) == 0
            self._assert_once(folder, runs)

    # -- what the tests share --------------------------------------------------------------

    def _follow(self, folder: Path, runs: Sequence[TrackedRun]) -> int:
        """Sends the runs as a process of its own would; returns how many are not sent whole."""
        service = self.service(folder)
        follower = Follower(service, Cursor(folder, "contract"))
        try:
            left = follower.follow(runs)
            follower.close()
            return left
        finally:
            with contextlib.suppress(OutageError):
                service.close()

    def _refusal(self, folder: Path, runs: Sequence[TrackedRun]) -> str | None:
        """Returns what the service says in an outage; None: it took the runs."""
        try:
            self._follow(folder, runs)
        except OutageError as error:
            return str(error)
        return None

    def _assert_once(self, folder: Path, runs: Sequence[TrackedRun]) -> None:
        for run in runs:
            got = [(step, _shown(values)) for step, values in self.held(folder, run)]
            assert got == [(row.step, _shown(row.values)) for row in run.rows], run.name


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="jamba-ray-") as name:
        folder = Path(name) / "night-1"
        folder.mkdir()
        yield folder


def _runs(folder: Path) -> list[TrackedRun]:
    """Returns a sweep of two trials, the second failed, as a run folder gives it."""
    birth, sweep = str(folder), run_id(str(folder), "sweep")
    trials = [
        TrackedRun(
            id=run_id(birth, "trial", number),
            name=f"night-1/{number}",
            group="night-1",
            job_type="trial",
            sweep=sweep,
            config={"model": {"name": "mlp"}, "training": {"learning_rate": 0.01}},
            rows=[Row(step, _values(number, step)) for step in range(1, 6)],
            tags=("complete", "mlp"),
            summary={"state": "complete", "objective": 0.5},
            ended=True,
            failed=number == 1,
        )
        for number in range(2)
    ]
    whole = TrackedRun(
        id=sweep,
        name="night-1",
        group="night-1",
        job_type="sweep",
        config={"objective": "average_precision"},
        rows=[Row(i, {"trial": i, "best": 0.5 + 0.1 * i}) for i in range(2)],
        summary={"status": "ok", "best_trial": 1},
        ended=True,
        table=[["trial", "value"], [0, 0.5], [1, 0.6]],
    )
    return [*trials, whole]


def _values(number: int, step: int) -> dict[str, float]:
    return {
        "epoch": step / 2,
        "val/average_precision": 0.1 * number + 0.01 * step,
        "_timestamp": 1.7e9 + step,
    }


def _shown(values: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in values.items() if not name.startswith("_")}
