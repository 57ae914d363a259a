"""Runs the training loop: K >= 1 members of one structure as one batched model.

The loop reads top to bottom in ``Engine.run``: train to the next report boundary without waiting
for the device once, judge, report, act on the decisions. Everything that a member does (data order,
masks, learning rate, loss, clipping, moments) is a function of its own configuration and position,
so a member trains alike whether alone, in a stack, or in a stack that neighbours left and joined.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from jamba_ray.checkpoints.snapshot import Snapshot
from jamba_ray.data.prepared import PreparedData
from jamba_ray.errors import JambaError, TrialError
from jamba_ray.training.allocator import keep_freed_memory
from jamba_ray.training.device_rows import place_of, rows_on
from jamba_ray.training.failure import divergence, raised
from jamba_ray.training.global_batch import GlobalBatch
from jamba_ray.training.member import (
    KEPT,
    Decision,
    Finish,
    Join,
    Member,
    Outcome,
    Report,
    Reporter,
    Save,
    State,
    Urgent,
    common_structure,
    ending,
)
from jamba_ray.training.member_tensors import MemberTensors
from jamba_ray.training.optimizer import clip_
from jamba_ray.training.precision import format_on
from jamba_ray.training.progress import Progress
from jamba_ray.training.ranks import Ranks
from jamba_ray.training.schedule import Timetable
from jamba_ray.training.snapshot_io import check_belongs, documents, put, take
from jamba_ray.training.step_schedule import Interval, interval
from jamba_ray.training.stopwatch import Stopwatch
from jamba_ray.training.validation import Validation

_CHUNK = 64
"""Batches whose row indices are made at once."""


class Engine:
    """Trains members, each at its own position, until each has an outcome."""

    def __init__(
        self,
        members: Sequence[Member],
        data: PreparedData,
        report: Reporter,
        device: str,
        save: Save | None,
        finish: Finish | None,
        join: Join | None,
        resume: Mapping[int, Snapshot],
        ranks: Ranks,
        urgent: Urgent | None = None,
        steps_to_come: int | None = None,
        at_a_time: int = 0,
    ) -> None:
        keep_freed_memory()
        configs = [member.config for member in members]
        training = [config.training for config in configs]
        self._live = list(members)
        self._data, self._device, self._ranks = data, device, ranks
        self._report, self._join, self._urgent = report, join, urgent
        self._save, self._finish = (save, finish) if ranks.rank == 0 else (None, None)
        self._objective = configs[0].objective
        place = place_of(data, device)
        self._train = rows_on(data.train, device, place)
        self._timetable = table = Timetable.of(training[0], len(self._data_of(members[0]).train))
        self._validation = Validation(data, configs[0], table.report_rows, device, place, ranks)
        self._format = format_on(device, configs[0].precision)
        self._own = own = self._tensors(members)
        self._stack, self._optimizer, self._scaler = own.stack, own.optimizer, own.scaler
        accumulate = training[0].accumulate
        self._batch = GlobalBatch(
            own.stack, self._train, own.criterion, self._format, own.scaler, ranks, accumulate
        )
        self._batch.decide(
            configs[0].compile,
            max(table.usual_batches, steps_to_come or 0),
            max(at_a_time, len(members)),
        )
        self._batch.compile_when_large(table.batch_rows, data.schema)
        self._progress = [self._restored(k, resume.get(m.trial)) for k, m in enumerate(members)]
        self._outcomes: dict[int, Outcome] = {}

    def run(self) -> dict[int, Outcome]:
        """Trains to the end; returns outcomes by trial."""
        self._watch = Stopwatch(self._device)
        self._leave_at_end()
        while self._live:
            reports = self._judge(self._train_interval())
            if not reports:
                continue
            decisions = self._ranks.agree(self._report(reports) if self._ranks.rank == 0 else [])
            self._act(reports, decisions)
            self._refill()
        return self._outcomes

    # --- between two reports ------------------------------------------------------------------

    def _train_interval(self) -> list[int]:
        """Trains all batches until a report is due; returns the members that report."""
        table, first = self._timetable, [progress.batches for progress in self._progress]
        due = [table.next_report(p.step + 1, p.batches) - p.batches for p in self._progress]
        n, b = min(due), table.batch_rows
        cooling = [p.cooling_from for p in self._progress]
        plan = interval([m.config for m in self._live], first, n, table, self._device, cooling)
        # One sum, also where an interval is cut by an urgent save.
        total = torch.tensor([p.loss_sum for p in self._progress], device=self._device)
        done = 0
        self._stack.train()
        self._watch.start()
        try:
            while done < n and not (done and self._is_urgent()):
                some = min(_CHUNK, n - done)
                index = self._own.order.rows([(at + done) * b for at in first], some * b)
                self._batch.foresee(index, b)
                for i in range(some):
                    rows = index[:, i * b : (i + 1) * b]
                    total.add_(self._train_batch(plan, done + i, rows), alpha=b)
                done += some
        except Exception as error:
            self._give_up(error)
            return []
        finally:
            self._watch.stop()
        for progress, loss_sum in zip(self._progress, total.tolist(), strict=True):
            progress.batches += done
            progress.rows_seen = table.rows_after(progress.batches)
            progress.loss_sum = loss_sum
            progress.loss_rows += done * b
        if done < n:
            self._save_all()
        return [k for k, batches in enumerate(due) if batches == done]

    def _is_urgent(self) -> bool:
        """Returns what rank 0 says, on all ranks."""
        if self._urgent is None:
            return False
        return self._ranks.agree(self._ranks.rank == 0 and self._urgent())

    def _save_all(self) -> None:
        """Saves all members between two reports."""
        if self._save is not None:
            self._clock()
            for k, member in enumerate(self._live):
                self._save(member.trial, self._snapshot(k))

    def _train_batch(self, plan: Interval, i: int, index: Tensor) -> Tensor:
        """Takes one step of every member on its own rows ``index`` [K, B]; returns losses [K]."""
        self._stack.step_keys.copy_(plan.keys[i])
        self._watch.begin_step()
        losses, gradients = self._batch.gradients(index)
        sound = None
        if self._scaler is not None:
            sound = self._scaler.unscale_(gradients)
            self._scaler.update(sound)
        clip_(gradients, plan.clip)
        self._optimizer.step(self._stack.flat, gradients, plan.lr[i], plan.decay[i], sound)
        self._watch.end_step()
        self._ranks.pulse.beat()
        return losses

    def _give_up(self, error: Exception) -> None:
        """Fails all members that are still training, since a batch raised.

        They run the same code, so no one is to blame; those that left before keep their outcomes.

        Raises:
            TrialError: The trial was alone, or those that left were told of by ``finish``.
        """
        if isinstance(error, JambaError):
            raise error
        reason = raised(", ".join(str(member.trial) for member in self._live), error)
        if self._finish is not None or (len(self._live) == 1 and not self._outcomes):
            raise TrialError(reason) from error
        self._leave(dict.fromkeys(range(len(self._live)), ("failed", reason)))

    # --- at a report --------------------------------------------------------------------------

    def _judge(self, due: Sequence[int]) -> list[Report]:
        """Validates; members that are not finite end as failed, the others get a report each."""
        if not due:
            return []
        self._stack.train(False)
        logits = self._logits(due)
        self._clock()
        failed = self._diverged(due, logits)
        reports = [
            self._report_of(k, own) for k, own in zip(due, logits, strict=True) if k not in failed
        ]
        self._leave({k: ("failed", reason) for k, reason in failed.items()})
        return reports

    def _report_of(self, k: int, logits: npt.NDArray[np.float64]) -> Report:
        progress, member = self._progress[k], self._live[k]
        train_loss = progress.loss_sum / progress.loss_rows
        progress.loss_sum, progress.loss_rows = 0.0, 0
        metrics = self._ranks.agree(
            {"train/loss": train_loss, **self._judge_of(member).metrics(logits)}
        )
        if progress.judge(self._objective, metrics):
            progress.best = self._stack.state(k)
        if progress.begins_to_cool(self._timetable):
            self._stack.load(k, progress.best)
        return progress.report(member.trial, len(self._data_of(member).train), metrics)

    def _logits(self, due: Sequence[int]) -> npt.NDArray[np.float64]:
        """Computes the logits [K, N] of some members on the validation sample."""
        return self._validation.logits(self._stack.forward_of(due), len(due))

    def _diverged(self, due: Sequence[int], logits: npt.NDArray[np.float64]) -> dict[int, str]:
        """Returns the members that cannot continue, and why in one sentence."""
        scales = None if self._scaler is None else self._scaler.scale[:, 0].tolist()
        reasons = {}
        for k, own in zip(due, logits, strict=True):
            progress = self._progress[k]
            reason = divergence(
                self._live[k].config.training,
                progress.rows_seen,
                progress.loss_sum / progress.loss_rows,
                bool(np.isfinite(own).all()),
                None if scales is None else scales[k],
            )
            if reason is not None:
                reasons[k] = reason
        return reasons

    def _act(self, reports: Sequence[Report], decisions: Sequence[Decision]) -> None:
        """Saves members that continue or were stopped, and removes those that are done."""
        if len(decisions) != len(reports):
            raise ValueError(
                f"a reporter must answer each of {len(reports)} reports, but gave "
                f"{len(decisions)} decisions"
            )
        place = {member.trial: k for k, member in enumerate(self._live)}
        leaving: dict[int, tuple[State, str | None]] = {}
        for report, decision in zip(reports, decisions, strict=True):
            k = place[report.trial]
            progress = self._progress[k]
            end = ending(
                decision, self._is_at_end(progress), progress.stale, self._timetable.ends_after
            )
            if end is not None:
                leaving[k] = end
            if self._save is not None and (end is None or end[0] == "stopped"):
                self._save(self._live[k].trial, self._snapshot(k))
        self._leave(leaving)

    # --- the end of a member ------------------------------------------------------------------

    def _leave(self, leaving: Mapping[int, tuple[State, str | None]]) -> None:
        """Makes the outcomes of some members and shrinks the stack to the others."""
        if not leaving:
            return
        for k, (state, reason) in leaving.items():
            outcome = self._outcome(k, state, reason)
            self._outcomes[outcome.trial] = outcome
            if self._finish is not None:
                self._finish(outcome)
        stay = [k for k in range(len(self._live)) if k not in leaving]
        self._live = [self._live[k] for k in stay]
        self._progress = [self._progress[k] for k in stay]
        if stay:
            self._own.keep(stay)

    def _leave_at_end(self) -> None:
        """Ends members that were resumed from their end: they are complete."""
        ended = [k for k, progress in enumerate(self._progress) if self._is_at_end(progress)]
        self._leave(dict.fromkeys(ended, ("complete", None)))

    def _is_at_end(self, progress: Progress) -> bool:
        return progress.batches >= self._timetable.end(progress.cooling_from)

    def _outcome(self, k: int, state: State, reason: str | None) -> Outcome:
        progress, member = self._progress[k], self._live[k]
        value, checkpoint, metrics = None, None, dict[str, float]()
        if state in KEPT:
            self._stack.train(False)
            best = progress.best
            value, threshold, metrics = self._judge_of(member).final(
                lambda n, c: self._stack.forward_one(best, n, c, k)
            )
            self._clock()
            checkpoint = self._snapshot(k, metrics, threshold)
        return Outcome(
            trial=member.trial,
            state=state,
            reason=reason,
            value=value,
            metrics=metrics,
            best_step=progress.best_step,
            rows_seen=progress.rows_seen,
            epochs=progress.rows_seen / len(self._data_of(member).train),
            seconds=progress.seconds,
            goodput_s=progress.goodput_s,
            checkpoint=checkpoint,
        )

    # --- the beginning of a member ------------------------------------------------------------

    def _refill(self) -> None:
        """Adds new members where the others have just reported, so that reports coincide again."""
        at_report = any(progress.loss_rows == 0 for progress in self._progress)
        joining = list(self._join()) if self._join is not None and at_report else []
        if not joining:
            return
        members = [member for member, _ in joining]
        common_structure([*self._live, *members])
        self._own.append(self._tensors(members))
        for member, snapshot in joining:
            self._live.append(member)
            self._progress.append(self._restored(len(self._live) - 1, snapshot))
        self._batch.compile_when_large(self._timetable.batch_rows, self._data.schema)
        self._leave_at_end()

    def _tensors(self, members: Sequence[Member]) -> MemberTensors:
        return MemberTensors.of(
            members,
            self._data,
            self._format,
            self._device,
            self._ranks,
            self._train.index_device,
        )

    def _data_of(self, member: Member) -> PreparedData:
        """Returns the rows of a member: those of all, but for folds."""
        return self._data

    def _judge_of(self, member: Member) -> Validation:
        return self._validation

    # --- state --------------------------------------------------------------------------------

    def _snapshot(
        self, k: int, metrics: Mapping[str, float] | None = None, threshold: float | None = None
    ) -> Snapshot:
        progress = self._progress[k]
        tensors, state = take(self._stack, self._optimizer, self._scaler, k, progress)
        state |= {"precision": self._format.name, "precision_reason": self._format.reason}
        compiled = self._batch.compiling
        state |= {"compiled": compiled.on, "compiled_reason": compiled.reason}
        shown = progress.metrics if metrics is None else metrics
        return Snapshot(
            tensors=tensors,
            documents=documents(
                self._live[k], self._data_of(self._live[k]), state, shown, threshold
            ),
        )

    def _restored(self, k: int, snapshot: Snapshot | None) -> Progress:
        member, progress = self._live[k], Progress()
        if snapshot is not None:
            check_belongs(snapshot, member, self._data_of(member))
            progress = put(snapshot, self._stack, self._optimizer, self._scaler, k)
        progress.keeps_last = member.keeps_last
        return progress

    def _clock(self) -> None:
        """Adds the time since the last call to the live members; step time in equal shares."""
        seconds, step_s = self._watch.lap()
        for progress in self._progress:
            progress.seconds += seconds
            progress.goodput_s += step_s / len(self._progress)
