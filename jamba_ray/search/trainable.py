"""The Tune trainable: a lane's process, kept warm from stack to stack."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ray import tune

from jamba_ray.config.run import TrialConfig
from jamba_ray.data.prepared import PreparedData
from jamba_ray.errors import JambaError, StorageError
from jamba_ray.launch.group import Group
from jamba_ray.launch.lane import DetachedError, Fit, Job, Lane
from jamba_ray.launch.run_folder import RunFolder
from jamba_ray.search.records import ReportLine
from jamba_ray.search.searcher import from_text
from jamba_ray.search.server import call, server_of
from jamba_ray.search.study import Decision
from jamba_ray.training import Report, fit


@dataclass(frozen=True)
class LaneSettings:
    """What every lane of a sweep is told once."""

    server: str
    """Name of the StudyServer."""
    folder: RunFolder
    """The run; on other machines than the driver's its path is a scratch folder."""
    base: dict[str, Any]
    """The base ``TrialConfig`` as JSON: families are registered before it is read."""
    threads: int
    device: str
    rows: bool = True
    """Whether lanes write the local rows."""
    hang_timeout_s: float | None = None
    """A trial that reports nothing for so long ends this process."""
    patience_s: float = 60.0
    """A store that refuses is tried again for so long."""
    workers: int = 1
    """Processes per trial; more than one are a group that this lane starts and leads."""
    gpus: float = 0.0
    """GPUs of each worker of a group."""
    fit: Fit | None = None
    """Stands in for ``jamba_ray.training.fit``."""


class LaneTrainable(tune.Trainable):
    """Trains one stack per Tune trial, in one step, and tells the study itself."""

    def setup(  # type: ignore[override]
        self, config: dict[str, Any], settings: LaneSettings, data: PreparedData
    ) -> None:
        """Start the lane: data and modules are loaded once, for all stacks to come."""
        self._server = server_of(settings.server)
        self._base = settings.base
        if settings.folder.remote is not None:
            settings.folder.logs.mkdir(parents=True, exist_ok=True)
        elif not settings.folder.path.is_dir():
            # Another node's disk: trials would fail one after the other for no fault of theirs.
            why = (
                f"the run folder must be the same on every node, but {settings.folder.path} is not "
                f"on {os.uname().nodename}. Give `store=s3://...`, `gs://...`, or a shared folder."
            )
            call(self._server.storage_lost, why)
            raise StorageError(why)
        self._group = _group_of(settings)
        alone = fit if self._group is None else self._group.fit
        self._lane = Lane(
            settings.folder,
            data,
            threads=settings.threads,
            device=settings.device,
            rows=settings.rows,
            hang_timeout_s=settings.hang_timeout_s,
            patience_s=settings.patience_s,
            fit=settings.fit or alone,
        )
        self.reset_config(config)

    def cleanup(self) -> None:
        """End the group: nothing may outlive its lane."""
        if self._group is not None:
            self._group.close()

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next stack (``reuse_actors``)."""
        self._members = from_text(new_config["members"])
        return True

    def step(self) -> dict[str, Any]:
        """Train the stack to its end."""
        base = TrialConfig.model_validate(self._base)
        jobs = [Job(m.number, m.params, m.resumed) for m in self._members]
        try:
            outcomes = self._lane.train(jobs, base, self._report)
        except DetachedError as error:
            # The sweep ends for all lanes: what one cannot store is lost. Already told if it came
            # from the study itself.
            with contextlib.suppress(JambaError):
                call(self._server.storage_lost, str(error))
            # Ray would take a BaseException for the end of the process.
            raise RuntimeError(str(error)) from error
        call(self._server.finish, outcomes)
        return {"done": True}

    def _report(self, reports: Sequence[Report]) -> list[Decision]:
        """Tell the study, cooperatively: the lane ends its own trials."""
        told = [
            ReportLine(
                number=r.trial,
                step=r.step,
                value=float(r.metrics[self._lane.objective_key]),
                rows_seen=r.rows_seen,
                epoch=r.epoch,
                seconds=r.seconds,
                goodput_s=r.goodput_s,
            )
            for r in reports
        ]
        try:
            decisions: list[Decision] = call(self._server.report, told)
        except JambaError as error:
            raise DetachedError(error.message) from error
        return decisions


def _group_of(settings: LaneSettings) -> Group | None:
    if settings.workers == 1:
        return None
    return Group(
        settings.folder, workers=settings.workers, threads=settings.threads, gpus=settings.gpus
    )
