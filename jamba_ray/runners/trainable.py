"""Defines the Tune trainable: a runner's process, which is reused from stack to stack."""

from __future__ import annotations

import contextlib
import os
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import ray
import torch
from ray import tune

from jamba_ray.config.family import stacks
from jamba_ray.config.params import with_params
from jamba_ray.config.plugin_modules import Plugin, receive, shipment
from jamba_ray.config.run import TrialConfig
from jamba_ray.data.prepared import PreparedData
from jamba_ray.errors import JambaError, StorageError
from jamba_ray.runners.fold_trainer import FoldCalls
from jamba_ray.runners.preemption import PreemptedError, PreemptionNotice
from jamba_ray.runners.runner import DetachedError, Fit, counts, root_cause
from jamba_ray.runners.stack_probe import n_batches, what_pays
from jamba_ray.runners.stack_runner import StackRunner
from jamba_ray.runners.study_client import aside, call, server_of
from jamba_ray.runs.row_log import RowLog
from jamba_ray.runs.run_folder import RunFolder
from jamba_ray.study.records import Packing, Paying, ReportLine, TrialSpec, from_text
from jamba_ray.training import Decision, Report, fit
from jamba_ray.training.device_rows import streaming
from jamba_ray.training.stack_size import share_mistake

if TYPE_CHECKING:
    from jamba_ray.runners.group import Group


@dataclass(frozen=True)
class RunnerSettings:
    """Holds the settings that every runner of a sweep receives once."""

    server: str
    """Name of the StudyServer."""
    folder: RunFolder
    """The run; on other machines than the driver's its path is a scratch folder."""
    base: dict[str, Any]
    """The base ``TrialConfig`` as JSON: model families are registered before it is parsed."""
    threads: int
    device: str
    node_id: str = ""
    """Ray's name of the driver's machine, where the run folder lies."""
    rows: bool = True
    """Whether local rows are written."""
    hang_timeout_s: float | None = None
    """Seconds without a report of a trial after which this process ends."""
    patience_s: float = 60.0
    """Seconds for which a refused write to the store is retried."""
    workers: int = 1
    """Processes per trial, at least; several are a group that this runner starts."""
    most_workers: int = 0
    """Most processes per trial; 0: ``workers``."""
    runners: int = 1
    """Runners at a time, which share the cluster."""
    gpus: float = 0.0
    """GPUs of this runner, or of each worker of its group."""
    resources: Mapping[str, float] = field(default_factory=dict)
    """Custom resources of each worker of a group."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Labels of the node of each worker of a group."""
    stack: int = 1
    """Trials that a runner may train at a time."""
    trials_per_runner: int | Literal["auto"] = "auto"
    """Trials to train at a time; ``auto``: as many as pay off, by measurement."""
    measures_costs: bool = False
    """Whether latency and size of each trained model are measured."""
    fit: Fit | None = None
    """Replaces ``jamba_ray.training.fit``."""
    plugins: tuple[Plugin, ...] = field(default_factory=shipment)
    """What the runner imports before it reads ``base``."""


class RunnerTrainable(tune.Trainable):
    """Trains one stack per Tune trial, in one step, and reports to the study itself."""

    def setup(  # type: ignore[override]
        self, config: dict[str, Any], settings: RunnerSettings, data: PreparedData
    ) -> None:
        """Starts the runner and loads data and modules once, for all stacks.

        An error here goes to the study and to a log: Tune would only say that the process ended.
        """
        self._server = server_of(settings.server)
        self._name = f"{os.uname().nodename} {os.getpid()}"
        try:
            self._begin(config, settings, data)
        except JambaError:
            raise
        except Exception as error:
            why = f"the runner could not start on {os.uname().nodename}: {root_cause(error)}"
            text = f"{why}\n{traceback.format_exc()}"
            call(self._server.log, f"runner-{os.uname().nodename}-{os.getpid()}.log", text)
            call(self._server.lost, str(config["ticket"]), why)
            raise

    def _begin(self, config: dict[str, Any], settings: RunnerSettings, data: PreparedData) -> None:
        receive(settings.plugins)
        self._base, self._settings = settings.base, settings
        # Kept, because Ray frees an object when its owner drops the last reference.
        self._handle = ray.put(ray.get_runtime_context().current_actor)
        call(self._server.enter, [self._handle])
        if settings.folder.remote is not None:
            settings.folder.logs.mkdir(parents=True, exist_ok=True)
        elif not settings.folder.path.is_dir():
            # Another node's disk: every trial would fail for no fault of its own.
            why = (
                f"the run folder must be the same on every node, but {settings.folder.path} is not "
                f"on {os.uname().nodename}. Give `store=s3://...`, `gs://...`, or a shared folder."
            )
            call(self._server.storage_lost, why)
            raise StorageError(why)
        self._group = _group_of(settings, self._server)
        self._notice = PreemptionNotice()
        alone = self._notice.around(fit) if self._group is None else self._group.fit
        self._data = data.searched
        here = ray.get_runtime_context().get_node_id()
        # Without a remote store the folder is shared by all machines, or this runner does not
        # begin.
        apart = settings.folder.remote is not None and here != settings.node_id
        self._row_log = RowLog(settings.folder.path) if settings.rows and apart else None
        self._runner = StackRunner(
            settings.folder,
            data,
            threads=settings.threads,
            device=settings.device,
            rows=settings.rows and not apart,
            hang_timeout_s=settings.hang_timeout_s,
            patience_s=settings.patience_s,
            waiting=partial(aside(self._server.waiting).remote, f"runner {self._name}"),
            note=self._server.note.remote,
            tell_log=self._server.log.remote if apart else None,
            # Needs no answer: calls arrive in order, so it comes before the next report.
            saved=self._server.saved.remote,
            measures_costs=settings.measures_costs,
            fold_calls=self._fold_calls() if data.folds else None,
            fit=settings.fit or alone,
        )
        # The ranks of a group see their GPUs themselves, this process does not.
        # A replacement of ``fit`` places its rows itself.
        own = self._group is None and settings.fit is None
        if own and (sentence := streaming(self._data, settings.device)) is not None:
            self._server.note.remote(sentence)
        self.reset_config(config)

    def _fold_calls(self) -> FoldCalls:
        told = partial(self._tell, self._server.fold)
        return FoldCalls(told, self._between_folds, together=self._settings.fit is None)

    def _between_folds(self, trial: int) -> Decision:
        self._notice.leave()
        decision: Decision = self._tell(self._server.between_folds, trial)
        return decision

    def cleanup(self) -> None:
        """Ends the group, because nothing may outlive its runner."""
        if self._group is not None:
            self._group.close()

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Takes the next stack (``reuse_actors``)."""
        self._ticket = str(new_config["ticket"])
        self._first = from_text(new_config["trial"])
        return True

    def step(self) -> dict[str, Any]:
        """Trains the stack to its end."""
        base = TrialConfig.model_validate(self._base)
        try:
            if self._notice.is_urgent():
                raise PreemptedError
            if self._settings.stack > 1:
                self._train_stack(base)
            else:
                self._keep_to_share()
                outcomes = self._runner.train([self._first], base, self._report)
                self._tell(self._server.finish, outcomes)
        except PreemptedError as error:
            # Ray would take a BaseException for the end of the process.
            raise RuntimeError(str(error)) from error
        except DetachedError as error:
            # The sweep ends for all runners: what one cannot store is lost. An error that came from
            # the study itself is known there already.
            with contextlib.suppress(JambaError):
                call(self._server.storage_lost, str(error))
            raise RuntimeError(str(error)) from error
        return {"done": True}

    def _train_stack(self, base: TrialConfig) -> None:
        """Fills the runner with trials of the first one's structure, and refills it as they end."""
        first = self._first
        found = self._packing(first, base)
        size = min(found.size, self._settings.stack)
        self._keep_to_share()

        def fill(new: bool) -> list[TrialSpec]:
            specs: list[TrialSpec] = self._tell(self._server.fill, self._ticket, size, new)
            return specs

        self._runner.train_stack(
            # Interrupted trials continue first; free slots are then filled as without interruption.
            fill(new=first.step == 0),
            base,
            self._report,
            size=size,
            steps_to_come=found.steps,
            ended=lambda outcome: self._tell(self._server.finish, [outcome]),
            more=lambda: fill(new=True),
        )

    def _keep_to_share(self) -> None:
        """Limits the memory of this process to its share of a GPU: a trial that needs more then
        fails by itself, and takes none from the others on it."""
        if torch.cuda.is_available() and 0.0 < self._settings.gpus < 1.0:
            torch.cuda.set_per_process_memory_fraction(self._settings.gpus)

    def _packing(self, first: TrialSpec, base: TrialConfig) -> Packing:
        """Returns how many trials of this structure to train at a time, and for how many steps."""
        words = ", ".join(f"{path}={value}" for path, value in first.structure.items())
        structure = f"{self._settings.device}: {words or 'all trials'}"
        found: Packing | None = self._tell(self._server.packing, structure)
        if found is None:
            found = self._tell(self._server.keep_packing, structure, self._measure(first, base))
        return found

    def _measure(self, first: TrialSpec, base: TrialConfig) -> Paying:
        settings = self._settings
        asked = None if settings.trials_per_runner == "auto" else settings.trials_per_runner
        try:
            config = with_params(base, first.params)
            if not stacks(config.model.name):
                return Paying(1, n_batches(config, self._data))
            if asked is not None:
                return Paying(asked, n_batches(config, self._data))
            gpus = settings.gpus or 1.0
            found = what_pays(config, self._data, settings.device, settings.stack, gpus)
            if (mistake := share_mistake(found.memory_share, gpus)) is not None:
                self._tell(self._server.spoil, mistake)
            return found
        except Exception:
            # Training the trials will raise what is wrong with their structure.
            return Paying(asked or 1, 0)

    def _tell(self, method: Any, *args: Any) -> Any:
        """Calls the study; raises DetachedError if it cannot be reached."""
        try:
            return call(method, *args)
        except JambaError as error:
            raise DetachedError(error.message) from error

    def _report(self, reports: Sequence[Report]) -> list[Decision]:
        """Reports to the study and returns its decisions; the runner ends its own trials."""
        told = [
            ReportLine(
                number=r.trial,
                step=r.step,
                value=float(r.metrics[self._runner.objective_key]),
                rows_seen=r.rows_seen,
                epoch=r.epoch,
                seconds=r.seconds,
                goodput_s=r.goodput_s,
                row=self._row(r),
                runner=self._name,
                further=self._runner.costs.further(r.trial, r.metrics),
            )
            for r in reports
        ]
        decisions: list[Decision] = self._tell(self._server.report, told)
        return decisions

    def _row(self, report: Report) -> dict[str, Any] | None:
        """Returns the local row, where it has to be sent with the report."""
        if self._row_log is None:
            return None
        return self._row_log.row(report.trial, report.step, report.metrics, **counts(report))


def _group_of(settings: RunnerSettings, server: Any) -> Group | None:
    if max(settings.workers, settings.most_workers) == 1:
        return None
    # Ray Train takes a quarter of a second to import, which runners of one process need not pay.
    from jamba_ray.runners.group import Group

    return Group(
        settings.folder,
        workers=settings.workers,
        most=settings.most_workers,
        runners=settings.runners,
        threads=settings.threads,
        gpus=settings.gpus,
        resources=settings.resources,
        labels=settings.labels,
        patience_s=settings.patience_s,
        note=server.note.remote,
        saved=server.saved.remote,
    )
