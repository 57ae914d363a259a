"""Defines the StudyServer, a Ray actor that is the only writer of the study."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from jamba_ray.config import plugin_modules
from jamba_ray.driver.preload import PRELOAD
from jamba_ray.errors import ConfigError, JambaError, StorageError
from jamba_ray.runners.study_client import ASIDE, NAMESPACE, REPORTS
from jamba_ray.runs.file_writes import append_log
from jamba_ray.runs.row_log import RowLog
from jamba_ray.runs.run_folder import LOGS
from jamba_ray.study.records import (
    Answer,
    Packing,
    Paying,
    ReportLine,
    SweepProgress,
    TrialOutcome,
    TrialRecord,
    TrialSpec,
)
from jamba_ray.study.reporting import Decision
from jamba_ray.study.settings import StudySettings
from jamba_ray.study.sweep_study import SweepStudy

T = TypeVar("T")
_REPORTS = 16
"""Most reports that may wait for the disk at a time; one write covers all of them."""


class StudyServer:
    """Offers ``SweepStudy`` to other processes; after a restart it opens the study again itself.

    ``start_server`` makes it. Errors of the study reach the caller unchanged.
    """

    def __init__(self, path: str, settings: StudySettings, session: str, epoch: int) -> None:
        self._path, self._settings, self._session = Path(path), settings, session
        self._epoch = epoch
        self._study_writer: SweepStudy | None = None
        self._gone: JambaError | None = None
        self._troubles: dict[str, str] = {}
        self._notes: list[str] = []
        self._runners: list[Any] = []
        self._rows = RowLog(self._path.parent)
        self._lock = threading.RLock()
        """Held while the study in memory is changed; reports leave it before they wait for the
        disk, so that one write is that of all reports which came meanwhile."""

    def enter(self, runner: Sequence[Any]) -> None:
        """Registers a runner by a reference to its handle, in a list, which Ray does not unpickle.

        Reading the handle here would import the runner's modules, torch among them (2 s of CPU
        while the first runners wait, and 200 MB).
        """
        self._runners += runner

    def runners(self) -> list[Any]:
        """Returns references to the handles of all runners, so that a signal can end them."""
        return self._runners

    def waiting(self, who: str, sentence: str | None) -> None:
        """Notes that ``who`` waits for a store that refuses; None: it waits no longer."""
        if sentence is None:
            self._troubles.pop(who, None)
        else:
            self._troubles[who] = sentence

    def note(self, sentence: str) -> None:
        """Stores a sentence for the summary of this session or a later one."""
        if sentence not in self._notes:
            self._notes.append(sentence)
            # The error of a lost study reaches the callers that wait for an answer.
            with contextlib.suppress(JambaError):
                self._on(lambda study: study.keep_note(sentence))

    def trouble(self) -> str | None:
        """Returns what the sweep waits for now, as a sentence; call it through ``aside``."""
        return next(iter(self._troubles.values()), None)

    def open(self) -> int:
        """Opens the study, so that its errors come before any trial.

        Returns how many trials have finished.
        """
        return self._on(lambda study: study.progress().n_finished)

    def ask(self, ticket: str) -> Answer:
        """Calls ``SweepStudy.ask``."""
        return self._on(lambda study: study.ask(ticket))

    def fill(self, ticket: str, size: int, new: bool) -> list[TrialSpec]:
        """Calls ``SweepStudy.fill``."""
        return self._on(lambda study: study.fill(ticket, size, new=new))

    def packing(self, structure: str) -> Packing | None:
        """Calls ``SweepStudy.packing``."""
        return self._on(lambda study: study.packing(structure))

    def keep_packing(self, structure: str, found: Paying) -> Packing:
        """Calls ``SweepStudy.keep_packing``."""
        return self._on(lambda study: study.keep_packing(structure, found))

    @ray.method(concurrency_group=REPORTS)
    def report(self, reports: Sequence[ReportLine]) -> list[Decision]:
        """Writes the rows, then calls ``SweepStudy.report``: acknowledged reports have rows."""
        told = [replace(report, row=None) for report in reports]
        with self._lock:
            for report in reports:
                if report.row is not None:
                    self._rows.append(report.row)
            study, noted = self._on(lambda study: (study, study.note_reports(told)))
        with self._dropped_on_error(study):
            study.commit(noted.upto)
        return noted.decisions

    def log(self, name: str, text: str) -> None:
        """Appends to the log of a runner whose machine does not have the run folder."""
        with contextlib.suppress(OSError):
            append_log(self._path.parent / LOGS / Path(name).name, text)

    def saved(self, number: int, step: int) -> None:
        """Calls ``SweepStudy.saved``."""
        self._on(lambda study: study.saved(number, step))

    def fold(self, number: int, fold: int, result: TrialOutcome) -> Decision:
        """Calls ``SweepStudy.fold``."""
        return self._on(lambda study: study.fold(number, fold, result))

    def between_folds(self, number: int) -> Decision:
        """Calls ``SweepStudy.between_folds``."""
        return self._on(lambda study: study.between_folds(number))

    def finish(self, finishes: Sequence[TrialOutcome]) -> None:
        """Calls ``SweepStudy.finish`` for each outcome."""
        for finish in finishes:
            self._on(partial(SweepStudy.finish, finish=finish))

    def lost(self, ticket: str, why: str, charged: bool = True) -> None:
        """Calls ``SweepStudy.lost``."""
        self._troubles.clear()  # a dead runner cannot report that it waits no longer
        self._on(lambda study: study.lost(ticket, why, charged=charged))

    def spoil(self, why: str) -> None:
        """Calls ``SweepStudy.spoil``."""
        self._on(lambda study: study.spoil(why))

    def storage_lost(self, why: str) -> None:
        """Ends the sweep for all runners, because one could not write its checkpoints."""
        self._gone = self._gone or StorageError(why)

    def progress(self, after: int = 0) -> SweepProgress:
        """Calls ``SweepStudy.progress`` and adds what the sweep waits for."""
        progress = self._on(lambda study: study.progress(after))
        return replace(progress, trouble=self.trouble())

    def standing(self, keep: int, n_candidates: int = 0) -> tuple[list[int], list[int]]:
        """Calls ``SweepStudy.standing``."""
        return self._on(lambda study: study.standing(keep, n_candidates))

    def give_up(self, why: str) -> None:
        """Calls ``SweepStudy.give_up``."""
        self._on(lambda study: study.give_up(why))

    def records(self) -> list[TrialRecord]:
        """Calls ``SweepStudy.records``."""
        return self._on(SweepStudy.records)

    def notes(self) -> list[str]:
        """Returns the sentences of the study and of the runners for the user."""
        return list(dict.fromkeys([*self._on(SweepStudy.notes), *self._notes]))

    def close(self) -> None:
        """Calls ``SweepStudy.close``; the next call opens the study again."""
        with self._lock:
            study, self._study_writer = self._study_writer, None
        if study is not None:
            study.close()

    def _on(self, act: Callable[[SweepStudy], T]) -> T:
        """Calls ``act`` with the study, opening it first if needed.

        After an error the study's memory may be ahead of its file, so the object is dropped. After
        the loss of the store or the lease every call raises that error at once.
        """
        with self._lock:
            if self._gone is not None:
                raise self._gone
            if self._study_writer is None:
                with self._dropped_on_error(None):
                    plugin_modules.receive(self._settings.plugins)
                    self._study_writer = SweepStudy(
                        self._path,
                        self._settings,
                        session=self._session,
                        epoch=self._epoch,
                        waiting=partial(self.waiting, "study"),
                    )
            with self._dropped_on_error(self._study_writer):
                return act(self._study_writer)

    @contextlib.contextmanager
    def _dropped_on_error(self, study: SweepStudy | None) -> Iterator[None]:
        try:
            yield
        except ConfigError:
            raise
        except BaseException as error:
            with self._lock:
                if isinstance(error, JambaError):
                    self._gone = error
                if study is self._study_writer:
                    with contextlib.suppress(Exception):
                        self.close()
            raise


def start_server(
    name: str,
    path: Path,
    settings: StudySettings,
    session: str,
    epoch: int,
    node_id: str,
    *,
    apart: bool = False,
) -> Any:
    """Starts the named actor on the driver's node, where the study lies, and returns its handle.

    ``apart`` starts it in a process of its own, because the workers that Ray has started load
    torch. ``max_task_retries`` repeats a call whose reply was lost; every method may be called
    twice.
    """
    remote: Any = ray.remote
    actor = remote(concurrency_groups={ASIDE: 1, REPORTS: _REPORTS})(StudyServer)
    return actor.options(
        name=name,
        namespace=NAMESPACE,
        num_cpus=0,
        max_restarts=-1,
        max_task_retries=-1,
        runtime_env={"env_vars": {PRELOAD: "0"}} if apart else None,
        scheduling_strategy=NodeAffinitySchedulingStrategy(node_id, soft=False),
    ).remote(str(path.absolute()), settings, session, epoch)
