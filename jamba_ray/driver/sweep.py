"""Runs a sweep: the study, the server around it, and Ray Tune that keeps the runners busy."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from jamba_ray.cluster.nodes import NodeWatch
from jamba_ray.cluster.resources import Machine, RunnerPlan, gpu_mistake, plan_for
from jamba_ray.cluster.surroundings import cluster_address
from jamba_ray.config.placement import range_of
from jamba_ray.config.run import SweepConfig
from jamba_ray.config.space import SearchSpace
from jamba_ray.data.prepared import PreparedData
from jamba_ray.driver.capacity import MachineWatch, check_places
from jamba_ray.driver.head_watch import HeadWatch
from jamba_ray.driver.monitor import CALL_S, CLOSE_S, Monitor, Watch
from jamba_ray.driver.preload import is_installed
from jamba_ray.driver.ray_session import RaySession, end_at_once, ray_session
from jamba_ray.driver.server import start_server
from jamba_ray.driver.signals import Signalled, interruptible, say_on_stderr
from jamba_ray.errors import InterruptedRunError
from jamba_ray.runners.runner import Fit
from jamba_ray.runners.study_client import aside, call
from jamba_ray.runs.replicator import copied
from jamba_ray.runs.row_log import fill_rows
from jamba_ray.runs.run_folder import RunFolder
from jamba_ray.study import identity, warm_start
from jamba_ray.study.lease import Lease, lost_lease
from jamba_ray.study.records import SweepProgress, SweepResult
from jamba_ray.study.recovery import Opened, open_for_writing
from jamba_ray.study.settings import (
    StudySettings,
    begin_with,
    stack_size,
    study_settings,
)
from jamba_ray.study.sweep_study import SweepStudy
from jamba_ray.study.trials_table import write_trials

if TYPE_CHECKING:
    from jamba_ray.driver.searcher import StudySearcher


def run_sweep(
    config: SweepConfig,
    space: SearchSpace,
    data: PreparedData,
    folder: RunFolder,
    watch: Watch | None = None,
    *,
    address: str | None = None,
    fit: Fit | None = None,
    accepted: Callable[[], None] = lambda: None,
    changed: Callable[[], Sequence[str]] = lambda: (),
    abandoned: Callable[[InterruptedRunError], object] = say_on_stderr,
    phase: Callable[[str], object] = lambda words: None,
) -> SweepResult:
    """Runs the sweep, or the rest of it where ``folder`` holds a study; prints nothing.

    Args:
        config: The sweep; ``verbose`` lets Ray print.
        space: ``parse_space(config)``.
        data: Rows for every trial; its tests are not sent to runners.
        folder: Made by ``RunFolder.create``.
        watch: Called about twice a second, from another thread, and once at the end.
        address: A Ray cluster; None: ``RAY_ADDRESS``, else one started on this machine.
        fit: Stands in for ``jamba_ray.training.fit``.
        accepted: Called once the run is known to be this driver's to write and to continue.
        changed: Asked every few seconds; a sentence for each data file that is no longer what was
            read. The trials that run then fail with it, and no more are begun.
        abandoned: Called from another thread, with what would have been raised, where the sweep was
            interrupted and Ray does not let go of this thread. Its processes are gone by then, the
            study is what there is. The process ends afterwards.
        phase: Called with the name of each phase when it begins: what a user waits for.

    Raises:
        RunExistsError: Another driver writes this run.
        InterruptedRunError: SIGINT or SIGTERM; everything acknowledged is in the study.
        UnavailableError: Ray cannot be had, or has too little for one runner.
        ConfigError: The study was begun with other settings or data.
        StorageError: The study cannot be opened or written.
    """
    begun = time.monotonic()
    settings = study_settings(config, space, data, runners=1)
    opened = open_for_writing(folder.study, *settings.directions)
    if not opened.identity:
        earlier = warm_start.read(config, space)
        settings = dataclasses.replace(settings, warm=[one.to_json() for one in earlier])
    with (
        interruptible(
            "stopped the sweep with its state saved. "
            f"Continue it with `resume=true run={folder.name}`.",
            abandoned,
            first=end_at_once,
        ) as signals,
        contextlib.ExitStack() as stack,
        Lease(folder.study, opened.epoch) as lease,
        _accepted(opened, settings, accepted),
    ):
        if (over := _over(opened, settings, folder, begun)) is not None:
            return over
        phase("connecting to the cluster" if cluster_address(address) else "starting Ray")
        session = stack.enter_context(
            ray_session(address=address, verbose=config.verbose, ahead=partial(_ahead, config))
        )
        signals.install()
        phase("loading the workers")
        head = stack.enter_context(HeadWatch(session.processes, signals.stop))
        plan = plan_for(config, session.machine)
        check_places(plan, local=session.local)
        running = _Running(
            config,
            data,
            folder,
            session,
            plan,
            dataclasses.replace(
                settings,
                runners=plan.runners,
                # A replacement of ``fit`` trains no stacks, unless the user set their size.
                stack=1
                if fit is not None and config.trials_per_runner == "auto"
                else stack_size(config, space, plan.runners),
                begin_with=begin_with(config, plan.device),
            ),
            watch,
            fit,
            lambda: bool(signals.name) or lease.lost,
            head,
            lease,
            opened,
            changed,
        )
        return running.run(begun)


def _ahead(config: SweepConfig, machine: Machine) -> tuple[str, ...]:
    """Returns the modules that Ray's workers preload, where each of them becomes a runner.

    None on GPUs: a process should load torch only once it knows which GPUs are its own.
    """
    is_group = range_of(config.workers_per_trial).most > 1
    is_placed = config.cpus_per_trial is not None or config.resources or config.labels
    if machine.gpus or is_group or is_placed or not is_installed():
        return ()
    plan = plan_for(config, machine)
    return ("jamba_ray.driver.worker_preload",) if plan.runners == machine.cpus else ()


def _gpu_notes(local: bool) -> tuple[str, ...]:
    why = gpu_mistake() if local else None
    return () if why is None else (f"The GPU of this machine was not used: {why}.",)


@contextlib.contextmanager
def _accepted(
    opened: Opened, settings: StudySettings, accepted: Callable[[], None]
) -> Iterator[None]:
    """Refuses a run that was begun with other settings, before Ray is started."""
    if known := opened.identity:
        identity.accepted_changes(known, identity.identity(settings), settings)
    accepted()
    yield


def _over(
    opened: Opened, settings: StudySettings, folder: RunFolder, begun: float
) -> SweepResult | None:
    """Returns the result of a sweep with no work left, without starting Ray; None: it has work."""
    if not opened.identity:
        return None
    study = SweepStudy(folder.study, settings, session=uuid.uuid4().hex[:8], epoch=opened.epoch)
    try:
        if (ended := study.nothing_left()) is None:
            return None
        progress, records = study.progress(), study.records()
        notes = (*opened.notes, *study.notes())
    finally:
        study.close()
    write_trials(folder, records)
    return SweepResult(
        trials=tuple(records),
        best=progress.best,
        counts=progress.counts,
        failures=progress.failures,
        ended=ended,
        wall_s=time.monotonic() - begun,
        goodput=0.0,
        runners=0,
        notes=notes,
    )


class _Running:
    """Runs one sweep while its Ray session is open."""

    def __init__(
        self,
        config: SweepConfig,
        data: PreparedData,
        folder: RunFolder,
        session: RaySession,
        plan: RunnerPlan,
        settings: StudySettings,
        watch: Watch | None,
        fit: Fit | None,
        stopping: Callable[[], bool],
        head: HeadWatch,
        lease: Lease,
        opened: Opened,
        changed: Callable[[], Sequence[str]],
    ) -> None:
        self._lease, self._opened, self._changed = lease, opened, changed
        self._config, self._data, self._folder = config, data, folder
        self._session, self._plan, self._fit = session, plan, fit
        self._watch = None if watch is None else MachineWatch(watch, plan)
        self._stopping, self._head, self._stack = stopping, head, settings.stack
        self._id = uuid.uuid4().hex[:8]
        self._name = f"study-{folder.name}-{self._id}"
        self._server = start_server(
            self._name,
            folder.study,
            settings,
            self._id,
            opened.epoch,
            session.node_id,
            apart=bool(session.ahead),
        )

    def run(self, begun: float) -> SweepResult:
        """Runs all trials and returns the result."""
        # Ray Tune takes a second to import, in which the server starts.
        from jamba_ray.driver.searcher import StudySearcher
        from jamba_ray.driver.tune_loop import run_runners, runner_settings

        seen = call(self._server.open)
        if self._opened.identity and self._config.tracking.name != "none":
            # A row that was lost with its machine is written again from the study's values.
            for trial in call(self._server.records):
                key = f"val/{self._config.objective}"
                fill_rows(self._folder.path, trial.number, trial.curve, key)
        # Tune serialises its searcher: it may hold the server's handle, never the whole sweep.
        server, nodes, stopping = self._server, NodeWatch(), self._stopping

        def heed() -> None:
            # Ray may lose a signal's exception while it waits, such as for a disk that refuses.
            if stopping():
                raise Signalled

        searcher = StudySearcher(
            lambda ticket: call(server.ask, ticket, meanwhile=heed),
            lambda ticket, why: call(
                server.lost, ticket, why, not nodes.node_died(), meanwhile=heed
            ),
            runners=self._plan.runners,
            session=self._id,
            stopping=self._stopping,
        )
        monitor = Monitor(
            self._server,
            self._folder,
            (
                self._config.keep_checkpoints,
                self._config.ensemble.candidates
                if self._config.ensemble.enabled and not self._config.cv.folds
                else 0,
            ),
            self._watch,
            seen,
            self._changed,
            self._stopping,
            self._head,
        )
        monitor.start()
        try:
            with copied(self._folder, monitor.note):
                run_runners(
                    searcher,
                    runner_settings(
                        self._config,
                        self._folder,
                        self._plan,
                        server=self._name,
                        node_id=self._session.node_id,
                        n_train=len(self._data.searched.train),
                        stack=self._stack,
                        fit=self._fit,
                    ),
                    self._data,
                    self._plan,
                    self._session.scratch,
                    local=self._session.local,
                    verbose=self._config.verbose,
                    stopping=self._stopping,
                )
            if searcher.error is not None:
                raise searcher.error
            if self._lease.lost:
                raise lost_lease(self._folder.study)
            if self._stopping():
                raise Signalled
            return self._result(monitor, searcher, begun)
        except BaseException:
            # Everything acknowledged is committed already; this only closes the files.
            if self._head.lost is None:
                with_deadline = threading.Thread(target=_close_quietly, args=(self._server,))
                with_deadline.start()
                with_deadline.join(CLOSE_S)
            raise
        finally:
            monitor.stop()

    def _result(self, monitor: Monitor, searcher: StudySearcher, begun: float) -> SweepResult:
        monitor.stop()
        progress: SweepProgress = call(self._server.progress)
        unfinished = progress.counts.get("running", 0)
        if unfinished:
            call(self._server.give_up, "its runner was lost and the sweep ended")
        last = monitor.look()
        records = call(self._server.records)
        notes = call(self._server.notes)
        call(self._server.close)
        write_trials(self._folder, records)
        return SweepResult(
            trials=tuple(records),
            best=last.best,
            counts=last.counts,
            failures=last.failures,
            ended=searcher.ended or last.ended or "",
            wall_s=time.monotonic() - begun,
            goodput=last.goodput,
            runners=self._plan.runners,
            notes=(
                *self._plan.notes,
                *_gpu_notes(self._session.local),
                *self._opened.notes,
                *notes,
                *monitor.notes,
            ),
        )


def _close_quietly(server: Any) -> None:
    try:
        # A server that waits for its disk would not answer.
        if call(aside(server.trouble), timeout_s=CALL_S) is None:
            call(server.close, timeout_s=CALL_S)
    except BaseException:
        return
