"""``run_sweep``: a study, a server around it, and Ray Tune that keeps the lanes busy."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import ray
from ray import tune

from jamba_ray.config.budget import limit_of
from jamba_ray.config.family import TRAINERS
from jamba_ray.config.fingerprint import fingerprint, fingerprinted
from jamba_ray.config.params import flatten
from jamba_ray.config.run import SweepConfig, TrialConfig
from jamba_ray.config.search import DIRECTIONS
from jamba_ray.config.space import Params, SearchSpace, values
from jamba_ray.data.prepared import PreparedData
from jamba_ray.errors import InterruptedRunError, JambaError, StorageError
from jamba_ray.launch.lane import Fit
from jamba_ray.launch.mirror import mirror_of
from jamba_ray.launch.nodes import NodeWatch
from jamba_ray.launch.ray_session import RaySession, ray_session
from jamba_ray.launch.resources import LanePlan, plan_lanes
from jamba_ray.launch.run_folder import RunFolder
from jamba_ray.search import identity
from jamba_ray.search.lease import Lease, lost_lease
from jamba_ray.search.records import SweepProgress, SweepResult
from jamba_ray.search.recovery import Opened, open_for_writing
from jamba_ray.search.searcher import StudySearcher
from jamba_ray.search.server import aside, call, start_server
from jamba_ray.search.settings import StudySettings
from jamba_ray.search.signals import Signalled, Signals
from jamba_ray.search.stacks import most_at_a_time
from jamba_ray.search.study import StudyBook
from jamba_ray.search.table import write_trials
from jamba_ray.search.trainable import LaneSettings, LaneTrainable

N_REPORTS = 16
"""Reports of a trial of the base configuration's ``epochs``, where ``report_rows`` is not given."""
_POLL_S = 0.5
_CLOSE_S = 5.0
_LOOK_AT_DATA_S = 2.0

Watch = Callable[[SweepProgress], None]


def run_sweep(
    config: SweepConfig,
    space: SearchSpace,
    data: PreparedData,
    folder: RunFolder,
    watch: Watch | None = None,
    *,
    first: Sequence[Params] = (),
    address: str | None = None,
    fit: Fit | None = None,
    accepted: Callable[[], None] = lambda: None,
    changed: Callable[[], Sequence[str]] = lambda: (),
) -> SweepResult:
    """Run the sweep, or what is left of it where ``folder`` holds a study; prints nothing.

    Args:
        config: The sweep; ``verbose`` lets Ray print.
        space: ``parse_space(config)``.
        data: Rows for every trial; its tests are not sent to lanes.
        folder: Made by ``RunFolder.create``.
        watch: Called about twice a second, from another thread, and once at the end.
        first: Parameters to try first; those not given are sampled.
        address: A Ray cluster; None: ``RAY_ADDRESS``, else one started on this machine.
        fit: Stands in for ``jamba_ray.training.fit``.
        accepted: Called once the run is known to be this driver's to write and to continue.
        changed: Asked every few seconds; a sentence for each data file that is no longer what was
            read. The trials that run then fail with it, and no more are begun.

    Raises:
        RunExistsError: Another driver writes this run.
        InterruptedRunError: SIGINT or SIGTERM; everything acknowledged is in the study.
        UnavailableError: Ray cannot be had, or has too little for one lane.
        ConfigError: The study was begun with other settings or data.
        StorageError: The study cannot be opened or written.
    """
    begun = time.monotonic()
    signals = Signals()
    settings = study_settings(config, space, data, lanes=1, first=tuple(first))
    opened = open_for_writing(folder.study, settings.direction)
    try:
        with (
            contextlib.ExitStack() as stack,
            Lease(folder.study, opened.epoch) as lease,
            signals,
            _accepted(opened, settings, accepted),
        ):
            if (over := _over(opened, settings, folder, begun)) is not None:
                return over
            session = stack.enter_context(ray_session(address=address, verbose=config.verbose))
            signals.install()
            plan = plan_lanes(
                session.machine,
                max_concurrent=config.max_concurrent,
                workers_per_trial=config.workers_per_trial,
                n_trials=config.n_trials,
            )
            running = _Running(
                config,
                data,
                folder,
                session,
                plan,
                dataclasses.replace(
                    settings, lanes=plan.lanes, stack=stack_size(config, space, plan.lanes)
                ),
                watch,
                fit,
                lambda: bool(signals.name) or lease.lost,
                lease,
                opened,
                changed,
            )
            return running.run(begun)
    except BaseException:
        if signals.name is None:
            raise
        raise InterruptedRunError(
            f"{signals.name} stopped the sweep with its state saved. "
            f"Continue it with `resume=true run={folder.name}`."
        ) from None


def stack_size(config: SweepConfig, space: SearchSpace, lanes: int) -> int:
    """Trials that a lane may train at a time: trees and trials of several processes train alone."""
    names = next((values(p.leaf) for p in space.parameters if p.path == "model.name"), None)
    trained_by = {TRAINERS.get(str(name)) for name in names or [config.model.name]}
    stackable = config.workers_per_trial == 1 and "gradient" in trained_by
    return most_at_a_time(config.trials_per_lane, config.n_trials, lanes, stackable=stackable)


def study_settings(
    config: SweepConfig,
    space: SearchSpace,
    data: PreparedData,
    *,
    lanes: int,
    first: tuple[Params, ...] = (),
) -> StudySettings:
    """What the study has to know of a sweep."""
    return StudySettings(
        space=space,
        objective=config.objective,
        direction=DIRECTIONS[config.objective],
        sampler=config.sampler,
        pruner=config.pruner,
        seed=config.seed,
        n_trials=config.n_trials,
        report_rows=report_rows(config.trial(), len(data.train)),
        limit=limit_of(config.budget),
        max_failed_trials=config.max_failed_trials,
        lanes=lanes,
        config_fingerprint=fingerprint(config),
        data_fingerprint=data.fingerprint,
        config=flatten(fingerprinted(config)),
        data=_data_in_words(data),
        allow_config_change=config.allow_config_change,
        allow_data_change=config.allow_data_change,
        hang_timeout_s=config.hang_timeout_s,
        patience_s=config.store_patience_s,
        first=first,
    )


def _data_in_words(data: PreparedData) -> dict[str, Any]:
    """What a user can compare where the rows are not the same."""
    schema = data.schema
    return {
        "data: training rows": len(data.train),
        "data: validation rows": len(data.val),
        "data: features": ", ".join([*schema.numeric, *schema.categorical]),
        "data: content": data.fingerprint,
    }


@contextlib.contextmanager
def _accepted(
    opened: Opened, settings: StudySettings, accepted: Callable[[], None]
) -> Iterator[None]:
    """Refuse a run that was begun with other settings before Ray is started."""
    if known := opened.identity:
        identity.accepted_changes(known, identity.identity(settings), settings)
    accepted()
    yield


def _over(
    opened: Opened, settings: StudySettings, folder: RunFolder, begun: float
) -> SweepResult | None:
    """The result of a sweep that was over before: no Ray is started for it; None: there is work."""
    if not opened.identity:
        return None
    book = StudyBook(folder.study, settings, session=uuid.uuid4().hex[:8], epoch=opened.epoch)
    try:
        if (ended := book.nothing_left()) is None:
            return None
        progress, records = book.progress(), book.records()
        notes = (*opened.notes, *book.notes())
    finally:
        book.close()
    write_trials(folder, records)
    return SweepResult(
        trials=tuple(records),
        best=progress.best,
        counts=progress.counts,
        failures=progress.failures,
        ended=ended,
        wall_s=time.monotonic() - begun,
        goodput=0.0,
        lanes=0,
        notes=notes,
    )


def report_rows(base: TrialConfig, n_train: int) -> int:
    """Rows between reports, the same for all trials so that rungs mean the same for all."""
    if base.training.report_rows is not None:
        return base.training.report_rows
    return max(1, math.ceil(base.training.epochs * n_train / N_REPORTS))


def base_config(config: SweepConfig, n_train: int) -> TrialConfig:
    """What all trials share, ``report_rows`` settled."""
    base = config.trial()
    training = base.training.model_copy(update={"report_rows": report_rows(base, n_train)})
    return base.model_copy(update={"training": training})


class _Running:
    """One sweep while its Ray session is open."""

    def __init__(
        self,
        config: SweepConfig,
        data: PreparedData,
        folder: RunFolder,
        session: RaySession,
        plan: LanePlan,
        settings: StudySettings,
        watch: Watch | None,
        fit: Fit | None,
        stopping: Callable[[], bool],
        lease: Lease,
        opened: Opened,
        changed: Callable[[], Sequence[str]],
    ) -> None:
        self._lease, self._opened, self._changed = lease, opened, changed
        self._config, self._data, self._folder = config, data, folder
        self._session, self._plan, self._watch, self._fit = session, plan, watch, fit
        self._stopping, self._stack = stopping, settings.stack
        self._id = uuid.uuid4().hex[:8]
        self._name = f"study-{folder.name}-{self._id}"
        self._server = start_server(
            self._name, folder.study, settings, self._id, opened.epoch, session.node_id
        )

    def run(self, begun: float) -> SweepResult:
        """From the first trial to the table of all."""
        seen = call(self._server.open)
        # Tune serialises its searcher: it may hold the server's handle, never the whole sweep.
        server, nodes = self._server, NodeWatch()
        searcher = StudySearcher(
            lambda ticket: call(server.ask, ticket),
            lambda ticket, why: call(server.lost, ticket, why, not nodes.node_died()),
            lanes=self._plan.lanes,
            session=self._id,
            stopping=self._stopping,
        )
        poll = _Poll(
            self._server,
            self._folder,
            self._config.keep_checkpoints,
            self._watch,
            seen,
            self._changed,
            self._stopping,
        )
        poll.start()
        try:
            self._tune(searcher)
            if searcher.error is not None:
                raise searcher.error
            if self._lease.lost:
                raise lost_lease(self._folder.study)
            if self._stopping():
                raise Signalled
            return self._result(poll, searcher, begun)
        except BaseException:
            # What was acknowledged is committed; this only folds the log into the one file.
            with_deadline = threading.Thread(target=_close_quietly, args=(self._server,))
            with_deadline.start()
            with_deadline.join(_CLOSE_S)
            raise
        finally:
            poll.stop()

    def _tune(self, searcher: StudySearcher) -> None:
        verbose = self._config.verbose
        lane = {"CPU": self._plan.threads, "GPU": self._plan.gpus}
        if self._plan.workers > 1:
            # The lane only leads: CPUs and GPUs go to its workers, which Ray Train places. Tune
            # takes no empty bundle.
            lane = {"memory": 1_000_000}
        trainable = tune.with_parameters(
            LaneTrainable,
            settings=LaneSettings(
                server=self._name,
                folder=dataclasses.replace(self._folder, path=self._folder.path.resolve()),
                base=base_config(self._config, len(self._data.train)).model_dump(mode="json"),
                threads=self._plan.threads,
                device=self._plan.device,
                rows=self._config.tracking.name != "none",
                hang_timeout_s=self._config.hang_timeout_s,
                patience_s=self._config.store_patience_s,
                workers=self._plan.workers,
                gpus=self._plan.gpus,
                stack=self._stack,
                trials_per_lane=self._config.trials_per_lane,
                fit=self._fit,
            ),
            data=dataclasses.replace(self._data, tests={}),
        )
        tuner = tune.Tuner(
            tune.with_resources(
                trainable, tune.PlacementGroupFactory([{k: v for k, v in lane.items() if v}])
            ),
            tune_config=tune.TuneConfig(
                search_alg=searcher,
                # The searcher says when it is over.
                num_samples=-1,
                reuse_actors=True,
                trial_dirname_creator=_short_name,
            ),
            run_config=tune.RunConfig(
                name="tune",
                storage_path=str(self._session.scratch),
                verbose=2 if verbose else 0,
                failure_config=tune.FailureConfig(max_failures=0),
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                log_to_file=False,
                stop=_Stopper(self._stopping),
            ),
        )
        tuner.fit()

    def _result(self, poll: _Poll, searcher: StudySearcher, begun: float) -> SweepResult:
        poll.stop()
        progress: SweepProgress = call(self._server.progress)
        unfinished = progress.counts.get("running", 0)
        if unfinished:
            call(self._server.give_up, "its lane was lost and the sweep ended")
        last = poll.look()
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
            lanes=self._plan.lanes,
            notes=(*self._plan.notes, *self._opened.notes, *notes, *poll.notes),
        )


class _Poll:
    """Looks at the study twice a second: for the display, and to delete checkpoints that lost."""

    def __init__(
        self,
        server: Any,
        folder: RunFolder,
        keep: int,
        watch: Watch | None,
        seen: int,
        changed: Callable[[], Sequence[str]],
        stopping: Callable[[], bool],
    ) -> None:
        self._changed, self._looked_at = changed, time.monotonic()
        self._stopping = stopping
        self._server, self._keep, self._watch = server, keep, watch
        self._store, self._mirror = folder.checkpoint_store(), mirror_of(folder)
        self._seen = seen
        self._last: SweepProgress | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="jamba_ray-poll", daemon=True)
        self.notes: list[str] = []

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join(_CLOSE_S)

    def look(self) -> SweepProgress:
        """Ask, show, tidy up."""
        progress: SweepProgress = call(
            self._server.progress, self._seen, timeout_s=30.0, meanwhile=self._show_trouble
        )
        self._seen += len(progress.finished)
        self._last = dataclasses.replace(progress, finished=())
        if self._watch is not None:
            self._watch(progress)
        if progress.finished:
            best, finished = call(self._server.standing, self._keep, timeout_s=30.0)
            self._store.retain(best, finished)
        return progress

    def _loop(self) -> None:
        while not self._stop.wait(_POLL_S):
            try:
                if self._stopping():
                    self._end_lanes()
                    return
                self.look()
                self._look_at_data()
                if self._mirror is not None:
                    self._mirror.push_study_if_due()
            except StorageError as error:
                # Lanes and searcher meet the same trouble and end the sweep; deleting can wait.
                self._note(error.message)
            except JambaError as error:
                self._note(error.message)
            except Exception as error:
                self._note(f"the display failed ({type(error).__name__}: {error}).")
                self._watch = None

    def _end_lanes(self) -> None:
        """Tune would wait 5 to 15 s for lanes in the middle of a trial; what they have not told the
        study by now is done again on resume anyway."""
        for lane in call(aside(self._server.lanes), timeout_s=_CLOSE_S):
            ray.kill(lane)

    def _show_trouble(self) -> None:
        """The study answers nothing while it waits for its disk, but why it waits."""
        sentence: str | None = call(aside(self._server.trouble), timeout_s=30.0)
        if sentence and self._last is not None and self._watch is not None:
            self._watch(dataclasses.replace(self._last, trouble=sentence))

    def _look_at_data(self) -> None:
        if time.monotonic() - self._looked_at < _LOOK_AT_DATA_S:
            return
        self._looked_at = time.monotonic()
        if sentences := self._changed():
            call(self._server.spoil, sentences[0].removesuffix("."), timeout_s=30.0)

    def _note(self, sentence: str) -> None:
        if sentence not in self.notes:
            self.notes.append(sentence)


class _Stopper(tune.Stopper):
    """Ends Tune's loop where a signal's exception was lost on its way."""

    def __init__(self, stopping: Callable[[], bool]) -> None:
        self._stopping = stopping

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Trials end by themselves."""
        return False

    def stop_all(self) -> bool:
        """Whether a signal came."""
        return self._stopping()


def _close_quietly(server: Any) -> None:
    try:
        call(server.close, timeout_s=_CLOSE_S)
    except BaseException:
        return


def _short_name(trial: Any) -> str:
    return str(trial.trial_id)


def lane_logs(folder: RunFolder) -> list[Path]:
    """The logs that lanes wrote (only lanes with failed trials do)."""
    return sorted(folder.logs.glob("lane-*.log"))
