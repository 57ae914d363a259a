"""What each rank of a group runs: job after job, until the queue says there are no more."""

from __future__ import annotations

import dataclasses
import os
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from functools import partial
from typing import Any, cast

import ray
import torch
from ray.train.torch import get_device
from ray.train.v2._internal.execution.context import get_train_context

from jamba_ray.checkpoints import Snapshot
from jamba_ray.config.run import TrialConfig
from jamba_ray.data.prepared import PreparedData
from jamba_ray.errors import StorageError
from jamba_ray.runners.group_queue import END
from jamba_ray.runners.runner import SAVE_SHARE, root_cause
from jamba_ray.runs.refusal import retry_store
from jamba_ray.runs.run_folder import RunFolder
from jamba_ray.training import Decision, Member, Report, fit
from jamba_ray.training.ranks import Pulse, RankLostError, TorchRanks

HUNG_AFTER_S = 30.0
"""A rank hangs when a step takes twice as long as the longest so far and so much more."""
_STORE_PATIENCE_S = 25.0
"""Rank 0 asks a store that refuses again for at most so long: the others wait for it meanwhile, and
must not take it for one that hangs."""
_EXIT_HUNG = 86
_TELL_S = 10.0
"""The queue has so long to note that a rank hangs."""


def run_rank(config: dict[str, Any]) -> None:
    """The ``train_loop_per_worker`` of a group.

    Raises:
        RuntimeError: Something was told to the queue, or another rank was lost; Ray Train then ends
            the other ranks.
    """
    torch.set_num_threads(config["threads"])
    queue, after = config["queue"], 0
    folder: RunFolder = config["folder"]
    device = str(get_device())
    ranks = TorchRanks(device)
    life = ranks.agree(ray.get(queue.arrived.remote()) if ranks.rank == 0 else 0)
    while True:
        job = ray.get(queue.next_job.remote(life, after))
        if job == END:
            return
        after, (payload,) = job
        with _Watchdog(ranks, queue, after):
            try:
                patience_s = min(config["patience_s"], _STORE_PATIENCE_S)
                _train(after, ray.get(payload), device, ranks, queue, folder, patience_s)
            except RankLostError as error:
                raise RuntimeError(f"another rank was lost: {error}") from None
            except StoreLostError as error:
                lost = {"kind": "store_lost", "job": after, "reason": str(error)}
                ray.get(queue.tell.remote(lost))
                raise RuntimeError(str(error)) from None
            except Exception as error:
                told = _fault(after, ranks.rank, error)
                ray.get(queue.tell.remote(told))
                raise RuntimeError(told["reason"]) from None


def _train(
    job: int,
    payload: dict[str, Any],
    device: str,
    ranks: TorchRanks,
    queue: Any,
    folder: RunFolder,
    patience_s: float,
) -> None:
    data: PreparedData = ray.get(payload["data"][0])
    members = [Member(n, TrialConfig.model_validate(c)) for n, c in payload["members"]]
    saver = _Saver(folder, job, ranks, queue, patience_s) if ranks.rank == 0 else None
    outcomes = fit(
        members,
        data,
        _nobody_asks if saver is None else saver.report,
        device=device,
        save=None if saver is None else saver.save,
        resume=payload["resume"],
        ranks=ranks,
        urgent=_nobody_hurries if saver is None else saver.is_urgent,
    )
    if ranks.rank == 0:
        # By reference: the queue need not read weights.
        ended = {"kind": "ended", "job": job, "outcomes": [ray.put(outcomes)]}
        ray.get(queue.tell.remote(ended))


def _nobody_asks(reports: Sequence[Report]) -> Sequence[Decision]:
    raise RuntimeError("only rank 0 reports")


def _nobody_hurries() -> bool:
    return False


def _fault(job: int, rank: int, error: Exception) -> dict[str, Any]:
    return {
        "kind": "fault",
        "job": job,
        "rank": rank,
        "reason": root_cause(error),
        "traceback": "".join(traceback.format_exception(error)),
    }


class StoreLostError(Exception):
    """Rank 0 cannot write checkpoints: no fault of the trial."""


class _Saver:
    """Rank 0's reports and checkpoints; a report counts once the runner has answered it."""

    def __init__(
        self, folder: RunFolder, job: int, ranks: TorchRanks, queue: Any, patience_s: float
    ) -> None:
        self._store = folder.checkpoint_store(patience_s)
        self._job, self._ranks, self._queue = job, ranks, queue
        self._patience_s = patience_s
        self._pace = Pace()
        self._warned = False

    def report(self, reports: Sequence[Report]) -> Sequence[Decision]:
        """Ask the runner."""
        with Waiting(self._ranks.pulse):
            told = [dataclasses.asdict(report) for report in reports]
            event = {"kind": "report", "job": self._job, "reports": told}
            decisions = ray.get(self._queue.ask.remote(event))
        return cast(list[Decision], decisions)

    def is_urgent(self) -> bool:
        """True once the cloud has said that it will take a machine away, and until it does as often
        as ``SAVE_SHARE`` allows: reports may be further apart than its two minutes."""
        if not _is_preempted():
            return False
        first, self._warned = not self._warned, True
        return first or self._pace.is_due()

    def save(self, trial: int, snapshot: Snapshot) -> None:
        """Write what training goes on from, as often as ``SAVE_SHARE`` allows, and always when a
        machine will be taken away."""
        if self._pace.is_due() or _is_preempted():
            step = int(snapshot.documents["state"]["step"])
            with self._pace, Waiting(self._ranks.pulse):
                save = partial(self._store.save, trial, step, snapshot, "step")
                try:
                    retry_store(save, self._patience_s, lambda sentence: None)
                except StorageError as error:
                    raise StoreLostError(error.message) from error
            # Nobody waits for it: it comes before the report that follows, in order.
            event = {"kind": "saved", "job": self._job, "trial": trial, "step": step}
            self._queue.tell.remote(event)


class Pace:
    """Enter it to write; it is due again when that is a small enough share of the time."""

    def __init__(self) -> None:
        self._begun = self._due = 0.0

    def is_due(self) -> bool:
        """Whether another checkpoint may be written."""
        return time.monotonic() >= self._due

    def __enter__(self) -> None:
        self._begun = time.monotonic()

    def __exit__(self, *_: object) -> None:
        ended = time.monotonic()
        self._due = ended + (ended - self._begun) / SAVE_SHARE


def _is_preempted() -> bool:
    """Whether this rank knows of a coming preemption. ``ray.train.get_preemption_info`` is a
    collective call, and only rank 0 asks."""
    return get_train_context().preemption_context.preemption_info is not None


class Waiting:
    """While entered, the rank waits for another process and cannot be said to hang."""

    def __init__(self, pulse: Pulse) -> None:
        self._pulse = pulse

    def __enter__(self) -> None:
        self._pulse.waiting = True

    def __exit__(self, *_: object) -> None:
        self._pulse.waiting = False
        self._pulse.last = time.monotonic()


def limit_s(pulse: Pulse) -> float:
    """Seconds without a beat after which a rank hangs."""
    return 2.0 * pulse.longest + HUNG_AFTER_S


class _Watchdog:
    """Looks at the pulse from a thread of its own.

    The rank that hangs does not wait for others, the others do. It tells the queue where it stands
    and ends; those that wait say so, and end if the runner finds that nothing will come. A rank
    that does not run at all (stopped, or stuck in the kernel) says nothing.
    """

    def __init__(self, ranks: TorchRanks, queue: Any, job: int) -> None:
        self._ranks, self._queue, self._job = ranks, queue, job
        self._watched = threading.get_ident()
        self._stop = threading.Event()

    def __enter__(self) -> None:
        pulse = self._ranks.pulse
        pulse.last, pulse.longest, pulse.waiting = time.monotonic(), 0.0, False
        threading.Thread(target=self._loop, name="jamba_ray-watchdog", daemon=True).start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()

    def _loop(self) -> None:
        pulse = self._ranks.pulse
        while not self._stop.wait(1.0):
            silent_s = time.monotonic() - pulse.last
            if silent_s < limit_s(pulse):
                continue
            waits, last = pulse.waiting, pulse.last
            told = self._tell(silent_s, waits)
            # Whoever was to hear of it may take long; by then the rank may have gone on.
            if (told and not waits) or (pulse.last == last and pulse.waiting == waits):
                os._exit(_EXIT_HUNG)

    def _tell(self, silent_s: float, waits: bool) -> bool:
        """Whether the queue took it. A queue that is gone or does not answer must not save a rank
        that hangs: nothing else would ever end it."""
        stack = sys._current_frames().get(self._watched)
        event = {
            "kind": "hung",
            "job": self._job,
            "rank": self._ranks.rank,
            "waiting": waits,
            "silent_s": silent_s,
            "stack": "".join(traceback.format_stack(stack)),
        }
        try:
            if waits:
                ray.get(self._queue.ask.remote(event))
            else:
                ray.get(self._queue.tell.remote(event), timeout=_TELL_S)
        except Exception:
            return False
        return True
