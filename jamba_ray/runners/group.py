"""Trains one trial on several processes together, as a Ray Train V2 ``TorchTrainer``.

A group outlives a trial: it takes jobs from a queue, so that its start (some ten seconds) is paid
once per runner and not once per trial. Its ``fit`` replaces ``jamba_ray.training.fit``; reports go
to the runner, which alone talks to the study, and rank 0 writes checkpoints.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from jamba_ray.checkpoints import Snapshot, step_of
from jamba_ray.cluster.nodes import places
from jamba_ray.cluster.resources import elastic_workers
from jamba_ray.config.family import trains_alone
from jamba_ray.config.plugin_modules import shipment
from jamba_ray.data.prepared import PreparedData
from jamba_ray.errors import StorageError, TrialError
from jamba_ray.runners.group_faults import Faults
from jamba_ray.runners.group_queue import GroupQueue
from jamba_ray.runners.group_trainer import (
    PLACE_TIMEOUT_S,
    RankSize,
    found_no_place,
    run_trainer,
)
from jamba_ray.runners.latest_checkpoint import LatestCheckpoints, Told
from jamba_ray.runners.runner import DetachedError
from jamba_ray.runs.run_folder import RunFolder
from jamba_ray.runs.scratch import scratch_folder
from jamba_ray.training import Finish, Join, Member, Outcome, Report, Reporter, Save
from jamba_ray.training import fit as fit_alone
from jamba_ray.training.snapshot_io import differences

_POLL_S = 1.0
_CLOSE_S = 20.0
_ABORT_S = 2.0


class Group:
    """Runs ``workers`` ranks; the first ``fit`` starts them and ``close`` ends them."""

    def __init__(
        self,
        folder: RunFolder,
        *,
        workers: int,
        most: int = 0,
        runners: int = 1,
        threads: int = 1,
        gpus: float = 0.0,
        resources: Mapping[str, float] | None = None,
        labels: Mapping[str, str] | None = None,
        patience_s: float = 60.0,
        note: Callable[[str], object] = lambda sentence: None,
        saved: Told = lambda trial, step: None,
    ) -> None:
        """Sets up a group.

        ``workers`` ranks, or up to ``most`` where the cluster has room for so many in each of
        ``runners`` groups, which is looked at when ranks are started and before each job. Each rank
        takes ``threads`` CPUs, ``gpus`` and ``resources`` of a node with ``labels``.
        ``patience_s``, ``note`` and ``saved`` are those of ``Runner``; rank 0 uses them to save.
        """
        self._patience_s = patience_s
        self._folder, self._least, self._most = folder, workers, max(workers, most)
        self._runners = runners
        self._rank = RankSize(threads, gpus, dict(resources or {}), dict(labels or {}))
        self.size = workers
        """Ranks that were started last."""
        self._store = folder.checkpoint_store()
        self._newest = LatestCheckpoints(self._store, note, saved)
        self._queue: Any = None
        self._data: tuple[PreparedData, Any] | None = None
        self._trainer: threading.Thread | None = None
        self._error: BaseException | None = None
        self._jobs = 0
        self._scratch = contextlib.ExitStack()
        """Holds the folder where Ray Train writes its few files, on this machine."""
        self.starts = 0
        """How often ranks were started; 1 as long as nothing died."""

    def fit(
        self,
        members: Sequence[Member],
        data: PreparedData,
        report: Reporter,
        *,
        device: str = "cpu",
        save: Save | None = None,
        finish: Finish | None = None,
        join: Join | None = None,
        resume: Mapping[int, Snapshot] | None = None,
    ) -> list[Outcome]:
        """Runs ``jamba_ray.training.fit`` on all ranks.

        It does not call ``save``, because rank 0 saves into the run folder, nor ``join``: members
        train one by one. Ranks that die are replaced, and training continues from the newest
        checkpoint.

        Raises:
            TrialError: A rank failed by the trial's own fault, hung, or died several times
                without progress.
        """
        if trains_alone(members[0].config.model.name):
            # What is no network trains in one process, with the runner's threads.
            return fit_alone(
                members, data, report, device=device, save=save, finish=finish, resume=resume
            )
        faults, relay = Faults(), _Relay(report)
        found = dict(resume or {})
        try:
            while True:
                outcomes = self._attempt(members, data, relay, found, faults)
                if outcomes is not None:
                    if finish is not None:
                        for outcome in outcomes:
                            finish(outcome)
                    return outcomes
                found = {**found, **self._last_saved(members, data, relay, found)}
        except BaseException as error:
            # Ranks that failed or died restart by themselves for the next trial.
            if not (isinstance(error, TrialError) and faults.known):
                self.abort()
            raise

    def close(self) -> None:
        """Ends the ranks and deletes what Ray Train wrote."""
        if self._trainer is not None:
            if self._trainer.is_alive() and self._queue is not None:
                with contextlib.suppress(ray.exceptions.RayError):
                    ray.get(self._queue.close.remote(), timeout=_CLOSE_S)
            self._trainer.join(_CLOSE_S)
        self.abort()

    def abort(self) -> None:
        """Ends the ranks at their next report, whatever they do."""
        if self._queue is not None:
            # A rank that asks a queue that is gone gets an error; Ray Train then ends the others.
            with contextlib.suppress(Exception):
                ray.kill(self._queue)
        self._queue = None
        self._forget(_ABORT_S)

    # --- one attempt --------------------------------------------------------------------------

    def _attempt(
        self,
        members: Sequence[Member],
        data: PreparedData,
        relay: _Relay,
        resume: Mapping[int, Snapshot],
        faults: Faults,
    ) -> list[Outcome] | None:
        """Returns the outcomes, or None where ranks died by no fault of the trial."""
        self._grow()
        self._start()
        self._jobs += 1
        payload = {
            "plugins": shipment(),
            "members": [(m.trial, m.config.model_dump(mode="json")) for m in members],
            "resume": dict(resume),
            # By reference: ranks on one machine share one copy of the rows.
            "data": [self._shared(data)],
        }
        self._call(self._queue.submit, self._jobs, [ray.put(payload)])
        for event in self._events():
            if event["kind"] == "report":
                decisions = relay([Report(**line) for line in event["reports"]])
                self._call(self._queue.answer, event["number"], list(decisions))
            elif event["kind"] == "ended":
                # If rank 0 died, they are gone too; the event of its death is still to come.
                with contextlib.suppress(ray.exceptions.RayError):
                    outcomes: list[Outcome] = ray.get(event["outcomes"][0])
                    return outcomes
            elif event["kind"] == "saved":
                self._newest.saved(event["trial"], event["step"])
            elif event["kind"] == "store_lost":
                raise DetachedError(event["reason"]) from StorageError(event["reason"])
            elif event["kind"] == "fault":
                faults.fault(event)
            elif event["kind"] == "hung":
                faults.hung(event)
            faults.blame()
            if event["kind"] == "lost":
                self.starts += 1
                if not event["preempted"]:
                    faults.died(relay.told)
                return None
            for number in faults.to_leave(time.monotonic()):
                self._call(self._queue.answer, number, "leave")
        self._forget()
        if found_no_place(self._error):
            raise TrialError(
                f"its {self.size} processes must find a place in the cluster, but found none "
                f"for {PLACE_TIMEOUT_S:.0f} s; look whether a machine is missing"
            )
        faults.died(relay.told)
        return None

    def _events(self) -> Iterator[dict[str, Any]]:
        """Yields the events of this job's ranks until the group has ended."""
        alive = True
        while alive:
            alive = self._trainer is not None and self._trainer.is_alive()
            collected = self._call(self._queue.collect, _POLL_S if alive else 0.1)
            for event in collected or [{"kind": "none", "job": self._jobs}]:
                if event["job"] == self._jobs:
                    yield event

    def _last_saved(
        self,
        members: Sequence[Member],
        data: PreparedData,
        relay: _Relay,
        found: Mapping[int, Snapshot],
    ) -> dict[int, Snapshot]:
        """Returns the newest checkpoints of the dead ranks, and deletes their unfinished writes."""
        self._store.sweep_orphans()
        read = {
            m.trial: self._newest.read(m.trial, partial(differences, member=m, data=data))
            for m in members
        }
        newest = {n: s for n, s in read.items() if s is not None}
        # Not after the last report: that one is of another run, and would leave a gap in the curve.
        return {
            n: s for n, s in newest.items() if step_of(found.get(n)) <= step_of(s) <= relay.last(n)
        }

    # --- the ranks ----------------------------------------------------------------------------

    def _shared(self, data: PreparedData) -> Any:
        if self._data is None or self._data[0] is not data:
            self._data = (data, ray.put(data))
        return self._data[1]

    def _room(self) -> int:
        """Returns the ranks that the cluster has room for, as far as this group may use it."""
        if self._most == self._least:
            return self._least
        nodes: Any = ray.nodes()  # type: ignore[no-untyped-call]
        found = places(nodes, self._rank.need, self._rank.labels)
        return elastic_workers(found, self._runners, self._least, self._most)

    def _grow(self) -> None:
        """Ends healthy ranks between two jobs where the cluster has room for more."""
        if self._trainer is not None and self._room() > self.size:
            self.close()

    def _start(self) -> None:
        if self._queue is None:
            here = NodeAffinitySchedulingStrategy(
                ray.get_runtime_context().get_node_id(), soft=False
            )
            actor: Any = ray.remote(GroupQueue)
            self._queue = actor.options(num_cpus=0, scheduling_strategy=here).remote()
        if self._trainer is not None and self._trainer.is_alive():
            return
        self.starts += 1
        self.size = self._room()
        self._error = None
        self._forget()
        scratch = self._scratch.enter_context(scratch_folder())
        self._trainer = threading.Thread(
            target=self._run, name="jamba_ray-group", args=(str(scratch),), daemon=True
        )
        self._trainer.start()

    def _run(self, scratch: str) -> None:
        """Runs the trainer in a thread, where Ray Train sets no signal handlers."""
        try:
            run_trainer(
                self._queue,
                self._folder,
                scratch,
                workers=self.size,
                rank=self._rank,
                # What is left of an elastic group is started again with as many as there is room.
                restarts=self._most == self._least,
                patience_s=self._patience_s,
            )
        except BaseException as error:
            self._error = error

    def _forget(self, patience_s: float = _CLOSE_S) -> None:
        """Waits for the end of ranks that are ending, so that their resources are free."""
        if self._trainer is not None:
            self._trainer.join(patience_s)
        self._trainer = None
        self._scratch.close()

    def _call(self, method: Any, *args: Any) -> Any:
        try:
            return ray.get(method.remote(*args))
        except ray.exceptions.RayError as error:
            raise DetachedError(f"the group's queue is gone ({type(error).__name__})") from error


class _Relay:
    """Passes each report on once: ranks that restart from a checkpoint repeat some reports."""

    def __init__(self, report: Reporter) -> None:
        self._report = report
        self._decisions: dict[tuple[int, int], Any] = {}

    @property
    def told(self) -> int:
        """Counts the reports passed on so far."""
        return len(self._decisions)

    def last(self, trial: int) -> int:
        """Returns the last step of ``trial`` that was passed on."""
        return max((step for number, step in self._decisions if number == trial), default=0)

    def __call__(self, reports: Sequence[Report]) -> list[Any]:
        new = [r for r in reports if (r.trial, r.step) not in self._decisions]
        if new:
            answers = self._report(new)
            for r, decision in zip(new, answers, strict=True):
                self._decisions[r.trial, r.step] = decision
        return [self._decisions[r.trial, r.step] for r in reports]
