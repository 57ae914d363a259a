"""The StudyServer: a Ray actor around the study, its only writer."""

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

from jamba_ray.driver.preload import PRELOAD
from jamba_ray.errors import ConfigError, JambaError, StorageError
from jamba_ray.runners.study_client import ASIDE, NAMESPACE, REPORTS
from jamba_ray.runs.row_log import RowLog
from jamba_ray.runs.run_folder import LOGS, append_log
from jamba_ray.study.outcome import TrialOutcome
from jamba_ray.study.records import (
    Answer,
    Packing,
    Paying,
    ReportLine,
    SweepProgress,
    TrialRecord,
    TrialSpec,
)
from jamba_ray.study.reporting import Decision
from jamba_ray.study.settings import StudySettings
from jamba_ray.study.sweep_study import SweepStudy

T = TypeVar("T")
_REPORTS = 16
"""Reports that may wait for the disk at a time: one write is made for all of them."""


class StudyServer:
    """``SweepStudy`` for other processes. After a restart it opens the study again by itself.

    Made by ``start_server``. Errors of the study travel as they are.
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
        """Here is a runner: a reference to its handle, in a list, so that Ray hands it over unread.
        Reading the handle here would import the runner's modules, torch among them (2 s of CPU
        while the first runners wait, and 200 MB)."""
        self._runners += runner

    def runners(self) -> list[Any]:
        """References to the handles of all runners that ever began, so that a signal can end
        them."""
        return self._runners

    def waiting(self, who: str, sentence: str | None) -> None:
        """``who`` waits for a store that refuses; None: no longer."""
        if sentence is None:
            self._troubles.pop(who, None)
        else:
            self._troubles[who] = sentence

    def note(self, sentence: str) -> None:
        """Say so in the summary, should it be a later session's."""
        if sentence not in self._notes:
            self._notes.append(sentence)
            # A study that is lost says so to whoever waits for an answer.
            with contextlib.suppress(JambaError):
                self._on(lambda study: study.keep_note(sentence))

    def trouble(self) -> str | None:
        """What the sweep waits for now, as a sentence; see ``aside``."""
        return next(iter(self._troubles.values()), None)

    def open(self) -> int:
        """Open the study now, so that its errors come before any trial; how many have finished."""
        return self._on(lambda study: study.progress().n_finished)

    def ask(self, ticket: str) -> Answer:
        """See ``SweepStudy.ask``."""
        return self._on(lambda study: study.ask(ticket))

    def fill(self, ticket: str, size: int, new: bool) -> list[TrialSpec]:
        """See ``SweepStudy.fill``."""
        return self._on(lambda study: study.fill(ticket, size, new=new))

    def packing(self, shape: str) -> Packing | None:
        """See ``SweepStudy.packing``."""
        return self._on(lambda study: study.packing(shape))

    def keep_packing(self, shape: str, found: Paying) -> Packing:
        """See ``SweepStudy.keep_packing``."""
        return self._on(lambda study: study.keep_packing(shape, found))

    @ray.method(concurrency_group=REPORTS)
    def report(self, reports: Sequence[ReportLine]) -> list[Decision]:
        """See ``SweepStudy.report``. Rows are written first, so that whatever was acknowledged has
        its row."""
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
        """Append to the log of a runner whose machine does not have the run folder."""
        with contextlib.suppress(OSError):
            append_log(self._path.parent / LOGS / Path(name).name, text)

    def saved(self, number: int, step: int) -> None:
        """See ``SweepStudy.saved``."""
        self._on(lambda study: study.saved(number, step))

    def finish(self, finishes: Sequence[TrialOutcome]) -> None:
        """See ``SweepStudy.finish``."""
        for finish in finishes:
            self._on(partial(SweepStudy.finish, finish=finish))

    def lost(self, ticket: str, why: str, charged: bool = True) -> None:
        """See ``SweepStudy.lost``."""
        self._troubles.clear()  # the dead tell nothing, not even that they wait no longer
        self._on(lambda study: study.lost(ticket, why, charged=charged))

    def spoil(self, why: str) -> None:
        """See ``SweepStudy.spoil``."""
        self._on(lambda study: study.spoil(why))

    def storage_lost(self, why: str) -> None:
        """A runner could not write its checkpoints for long: the sweep ends here, for all."""
        self._gone = self._gone or StorageError(why)

    def progress(self, after: int = 0) -> SweepProgress:
        """See ``SweepStudy.progress``."""
        progress = self._on(lambda study: study.progress(after))
        return replace(progress, trouble=self.trouble())

    def standing(self, keep: int) -> tuple[list[int], list[int]]:
        """See ``SweepStudy.standing``."""
        return self._on(lambda study: study.standing(keep))

    def give_up(self, why: str) -> None:
        """See ``SweepStudy.give_up``."""
        self._on(lambda study: study.give_up(why))

    def records(self) -> list[TrialRecord]:
        """See ``SweepStudy.records``."""
        return self._on(SweepStudy.records)

    def notes(self) -> list[str]:
        """What a user should read: of the study, and of runners."""
        return list(dict.fromkeys([*self._on(SweepStudy.notes), *self._notes]))

    def close(self) -> None:
        """See ``SweepStudy.close``; the next call opens the study again."""
        with self._lock:
            study, self._study_writer = self._study_writer, None
        if study is not None:
            study.close()

    def _on(self, act: Callable[[SweepStudy], T]) -> T:
        """Act on the study. After an error what it holds in memory may be ahead of the disk, so it
        is dropped; after the store or the lease was lost every call says so at once."""
        with self._lock:
            if self._gone is not None:
                raise self._gone
            if self._study_writer is None:
                with self._dropped_on_error(None):
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
    """Start the named actor on the driver's node, where the study lies. Returns its handle.
    ``apart``: in a process of its own, because the workers that Ray has started load torch.

    ``max_task_retries``: a call whose reply was lost is made again; every method bears that.
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
