"""Runs on each rank of a group: trains job after job until the queue has no more."""

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

from jamba_ray.checkpoints import Snapshot, step_of
from jamba_ray.cluster.ray_private import TRAIN_CONTEXT
from jamba_ray.config.plugin_modules import receive
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
"""Seconds beyond twice the longest step so far after which a rank counts as hung."""
_STORE_PATIENCE_S = 25.0
"""Most seconds for which rank 0 retries a write: the others wait for it meanwhile, and must not
take it for one that hangs."""
_EXIT_HUNG = 86
_TELL_S = 10.0
"""Seconds for the queue to note that a rank hangs."""


def run_rank(config: dict[str, Any]) -> None:
    """Runs jobs, as the ``train_loop_per_worker`` of a group.

    Raises:
        RuntimeError: A fault was reported to the queue, or another rank was lost; Ray Train then
            ends the other ranks.
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
    receive(payload["plugins"])
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
        # By reference, so that the queue does not unpickle weights.
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
    """Reports that rank 0 cannot write checkpoints, which is no fault of the trial."""


class _Saver:
    """Sends rank 0's reports and writes its checkpoints; a report counts once it was answered."""

    def __init__(
        self, folder: RunFolder, job: int, ranks: TorchRanks, queue: Any, patience_s: float
    ) -> None:
        self._store = folder.checkpoint_store(patience_s)
        self._job, self._ranks, self._queue = job, ranks, queue
        self._patience_s = patience_s
        self._pace = Pace()
        self._warned = False

    def report(self, reports: Sequence[Report]) -> Sequence[Decision]:
        """Sends the reports to the runner and returns its decisions."""
        with Waiting(self._ranks.pulse):
            told = [dataclasses.asdict(report) for report in reports]
            event = {"kind": "report", "job": self._job, "reports": told}
            decisions = ray.get(self._queue.ask.remote(event))
        return cast(list[Decision], decisions)

    def is_urgent(self) -> bool:
        """Says whether to save now because a machine will be taken away.

        True when the cloud has just announced it, and then as often as ``SAVE_SHARE`` allows:
        reports may be further apart than the two minutes that remain.
        """
        if not _is_preempted():
            return False
        first, self._warned = not self._warned, True
        return first or self._pace.is_due()

    def save(self, trial: int, snapshot: Snapshot) -> None:
        """Writes a resumable checkpoint, as often as ``SAVE_SHARE`` allows.

        When a machine will be taken away it always writes.
        """
        if self._pace.is_due() or _is_preempted():
            step = step_of(snapshot)
            with self._pace, Waiting(self._ranks.pulse):
                save = partial(self._store.save, trial, step, snapshot, "step")
                try:
                    retry_store(save, self._patience_s, lambda sentence: None)
                except StorageError as error:
                    raise StoreLostError(error.message) from error
            # Needs no answer: messages arrive in order, so it comes before the next report.
            event = {"kind": "saved", "job": self._job, "trial": trial, "step": step}
            self._queue.tell.remote(event)


class Pace:
    """Measures how long writes take and limits them to a share of the time; enter it to write."""

    def __init__(self) -> None:
        self._begun = self._due = 0.0

    def is_due(self) -> bool:
        """Says whether another checkpoint may be written."""
        return time.monotonic() >= self._due

    def __enter__(self) -> None:
        self._begun = time.monotonic()

    def __exit__(self, *_: object) -> None:
        ended = time.monotonic()
        self._due = ended + (ended - self._begun) / SAVE_SHARE


def _is_preempted() -> bool:
    """Says whether this rank knows of a coming preemption.

    ``ray.train.get_preemption_info`` is a collective call, but only rank 0 asks.
    """
    context = TRAIN_CONTEXT.find()
    return context is not None and context().preemption_context.preemption_info is not None


class Waiting:
    """Marks the rank as waiting for another process while entered, and so as not hung."""

    def __init__(self, pulse: Pulse) -> None:
        self._pulse = pulse

    def __enter__(self) -> None:
        self._pulse.waiting = True

    def __exit__(self, *_: object) -> None:
        self._pulse.waiting = False
        self._pulse.last = time.monotonic()


def limit_s(pulse: Pulse) -> float:
    """Returns the seconds without a heartbeat after which a rank counts as hung."""
    return 2.0 * pulse.longest + HUNG_AFTER_S


class _Watchdog:
    """Watches a rank's heartbeat from a thread of its own.

    A rank that hangs does not wait for others; the others wait for it. The hanging one sends its
    stack to the queue and ends. Waiting ones report that they wait, and end if the runner finds
    that nothing will come. A rank that does not run at all (stopped, or stuck in the kernel)
    reports nothing.
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
            # The call may have taken long, and the rank may have continued by now.
            if (told and not waits) or (pulse.last == last and pulse.waiting == waits):
                os._exit(_EXIT_HUNG)

    def _tell(self, silent_s: float, waits: bool) -> bool:
        """Reports the silence to the queue and returns whether the queue took the message.

        A rank that hangs ends even if it did not, because nothing else would ever end it.
        """
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
