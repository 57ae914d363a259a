"""The training loop: K >= 1 members of one shape as one batched model.

The loop reads top to bottom in ``Engine.run``: train to the next report boundary without waiting
for the device once, judge, report, act on the decisions. Everything that a member does (data order,
masks, learning rate, loss, clipping, moments) is a function of its own configuration and position,
so a member trains alike whether alone, in a stack, or in a stack whose neighbours left.
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
from jamba_ray.models import build
from jamba_ray.training.failure import divergence, raised
from jamba_ray.training.global_batch import GlobalBatch
from jamba_ray.training.global_norm import with_global_batch_norm
from jamba_ray.training.loss import Criterion
from jamba_ray.training.member import (
    Decision,
    Finish,
    Member,
    Outcome,
    Report,
    Reporter,
    Save,
    State,
    ending,
)
from jamba_ray.training.optimizer import StackedAdamW, clip_
from jamba_ray.training.order import Order
from jamba_ray.training.precision import LossScaler, has_native_bf16, resolve
from jamba_ray.training.progress import Progress
from jamba_ray.training.ranks import ALONE, Ranks
from jamba_ray.training.rates import Interval, interval
from jamba_ray.training.schedule import Timetable
from jamba_ray.training.snapshot_io import check_belongs, documents, put, take
from jamba_ray.training.stack import Stack
from jamba_ray.training.stopwatch import Stopwatch
from jamba_ray.training.validation import (
    ResidentRows,
    final_metrics,
    judge,
    objective_value,
    predict,
    probabilities,
    sample,
)


def fit_gradient(
    members: Sequence[Member],
    data: PreparedData,
    report: Reporter,
    *,
    device: str = "cpu",
    save: Save | None = None,
    finish: Finish | None = None,
    resume: Mapping[int, Snapshot] | None = None,
    ranks: Ranks = ALONE,
) -> list[Outcome]:
    """``training.fit`` for networks; members train one by one where they resume from different
    positions, or where one member has several processes.
    """
    resume = dict(resume or {})
    for member in members:
        if member.trial in resume:
            check_belongs(resume[member.trial], member, data, "gradient")
    cohorts: dict[tuple[int, int], list[Member]] = {}
    for member in members:
        snapshot = resume.get(member.trial)
        position = 0 if snapshot is None else int(snapshot.documents["state"]["batches"])
        alone = member.trial if ranks.size > 1 else 0
        cohorts.setdefault((position, alone), []).append(member)
    outcomes: dict[int, Outcome] = {}
    for cohort in cohorts.values():
        outcomes |= Engine(cohort, data, report, device, save, finish, resume, ranks).run()
    return [outcomes[member.trial] for member in members]


class Engine:
    """Trains members that stand at the same position until each has an outcome."""

    def __init__(
        self,
        members: Sequence[Member],
        data: PreparedData,
        report: Reporter,
        device: str,
        save: Save | None,
        finish: Finish | None,
        resume: Mapping[int, Snapshot],
        ranks: Ranks,
    ) -> None:
        configs = [member.config for member in members]
        training = [config.training for config in configs]
        self._live = list(members)
        self._data, self._device, self._ranks = data, device, ranks
        self._report = report
        self._save, self._finish = (save, finish) if ranks.rank == 0 else (None, None)
        self._objective = configs[0].objective
        self._patience = training[0].patience
        self._train = ResidentRows.of(data.train, device)
        self._judged = sample(data.val, training[0].val_rows)
        self._val = ResidentRows.of(data.val, device)
        self._sample = ResidentRows.of(self._judged, device)
        self._timetable = Timetable.of(training[0], len(data.train))
        self._format = resolve(
            configs[0].precision, torch.device(device).type, has_bf16=has_native_bf16(device)
        )
        # Built on the CPU from the member's seed alone: equal weights on every device.
        modules = [build(c.model, data.schema, seed=c.seed) for c in configs]
        if ranks.size > 1:
            modules = [with_global_batch_norm(module, ranks) for module in modules]
        self._stack = Stack(modules, device)
        layout = self._stack.layout
        self._optimizer = StackedAdamW(len(members), layout.n_parameters, layout.n_decayed, device)
        self._scaler = LossScaler(len(members), device) if self._format.name == "fp16" else None
        self._order = Order([config.seed for config in configs], len(data.train), device)
        self._criterion = Criterion(training, float(data.train.y.mean(dtype=np.float64)), device)
        self._batch = GlobalBatch(
            self._stack,
            self._train,
            self._criterion,
            self._format,
            self._scaler,
            ranks,
            training[0].accumulate,
        )
        self._progress = [self._restored(k, resume) for k in range(len(members))]
        self._outcomes: dict[int, Outcome] = {}

    def run(self) -> dict[int, Outcome]:
        """Train to the end; outcomes by trial."""
        self._watch = Stopwatch(self._device)
        if self._progress[0].batches >= self._timetable.n_batches:
            self._leave(dict.fromkeys(range(len(self._live)), ("complete", None)))
        while self._live:
            losses = self._train_interval()
            reports = self._judge(losses)
            if not reports:
                continue
            decisions = self._ranks.agree(self._report(reports) if self._ranks.rank == 0 else [])
            self._act(decisions)
        return self._outcomes

    # --- between two reports ------------------------------------------------------------------

    def _train_interval(self) -> Tensor:
        """All batches to the next report boundary; each member's mean loss over them, [K]."""
        at, table = self._progress[0], self._timetable
        last = table.next_report(at.step + 1, at.batches)
        plan = interval([m.config for m in self._live], at.batches, last, table, self._device)
        total = torch.zeros(len(self._live), device=self._device)
        self._stack.train()
        self._watch.start()
        try:
            for i, batch in enumerate(range(at.batches, last)):
                index = self._order.rows(table.rows_after(batch), table.rows_after(batch + 1))
                losses = self._train_batch(plan, i, index)
                total.add_(losses, alpha=index.shape[1])
        except Exception as error:
            self._give_up(error)
        self._watch.stop()
        rows = table.rows_after(last) - table.rows_after(at.batches)
        for progress in self._progress:
            progress.batches, progress.rows_seen = last, table.rows_after(last)
        return total / rows

    def _train_batch(self, plan: Interval, i: int, index: Tensor) -> Tensor:
        """One optimizer step of every member on its own rows ``index`` [K, B]; losses [K]."""
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
        """A batch raised. All members run the same code, so none can be told from the others:
        those still here fail together, while those that left before keep their outcomes.

        Raises:
            TrialError: The trial was alone.
        """
        if isinstance(error, JambaError):
            raise error
        reason = raised(", ".join(str(member.trial) for member in self._live), error)
        if len(self._live) == 1 and not self._outcomes:
            raise TrialError(reason) from error
        self._leave(dict.fromkeys(range(len(self._live)), ("failed", reason)))

    # --- at a report --------------------------------------------------------------------------

    def _judge(self, losses: Tensor) -> list[Report]:
        """Validate; members that are not finite end as failed, the others get a report each."""
        if not self._live:
            return []
        self._stack.train(False)
        logits = predict(self._stack.forward_shared, self._sample, len(self._live), self._ranks)
        train_losses = losses.cpu().numpy().astype(np.float64)
        self._clock()
        failed = self._diverged(train_losses, logits)
        sound = [k for k in range(len(self._live)) if k not in failed]
        reports = [self._report_of(k, float(train_losses[k]), logits[k]) for k in sound]
        self._leave({k: ("failed", reason) for k, reason in failed.items()})
        return reports

    def _report_of(self, k: int, train_loss: float, logits: npt.NDArray[np.float64]) -> Report:
        progress, member = self._progress[k], self._live[k]
        metrics = self._ranks.agree(
            {
                "train/loss": train_loss,
                **judge(self._objective, self._judged.y, probabilities(logits)),
            }
        )
        if progress.judge(self._objective, metrics):
            progress.best = self._stack.state(k)
        return Report(
            trial=member.trial,
            step=progress.step,
            rows_seen=progress.rows_seen,
            epoch=progress.rows_seen / len(self._train),
            seconds=progress.seconds,
            metrics=metrics,
            goodput_s=progress.goodput_s,
        )

    def _diverged(
        self, losses: npt.NDArray[np.float64], logits: npt.NDArray[np.float64]
    ) -> dict[int, str]:
        """Members that cannot go on, and why in one sentence."""
        scales = None if self._scaler is None else self._scaler.scale[:, 0].tolist()
        reasons = {}
        for k, member in enumerate(self._live):
            reason = divergence(
                member.config.training,
                self._progress[k].rows_seen,
                float(losses[k]),
                bool(np.isfinite(logits[k]).all()),
                None if scales is None else scales[k],
            )
            if reason is not None:
                reasons[k] = reason
        return reasons

    def _act(self, decisions: Sequence[Decision]) -> None:
        """Save those that go on or were stopped; let those leave that are done."""
        if len(decisions) != len(self._live):
            raise ValueError(
                f"a reporter must answer each of {len(self._live)} reports, but gave "
                f"{len(decisions)} decisions"
            )
        is_end = self._progress[0].batches >= self._timetable.n_batches
        leaving: dict[int, tuple[State, str | None]] = {}
        for k, decision in enumerate(decisions):
            end = ending(decision, is_end, self._progress[k].stale, self._patience)
            if end is not None:
                leaving[k] = end
            if self._save is not None and (end is None or end[0] == "stopped"):
                self._save(self._live[k].trial, self._snapshot(k))
        self._leave(leaving)

    # --- the end of a member ------------------------------------------------------------------

    def _leave(self, leaving: Mapping[int, tuple[State, str | None]]) -> None:
        """Make outcomes and shrink the stack to those that stay."""
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
            for part in (self._stack, self._optimizer, self._order, self._criterion, self._scaler):
                if part is not None:
                    part.keep(stay)

    def _outcome(self, k: int, state: State, reason: str | None) -> Outcome:
        progress, member = self._progress[k], self._live[k]
        value, checkpoint, metrics = None, None, dict[str, float]()
        if state != "failed":
            self._stack.train(False)
            best = progress.best
            (logits,) = predict(
                lambda n, c: self._stack.forward_one(best, n, c), self._val, 1, self._ranks
            )
            p = probabilities(logits)
            threshold, metrics = final_metrics(self._data.val.y, p)
            value = objective_value(self._objective, self._data.val.y, p)
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
            epochs=progress.rows_seen / len(self._train),
            seconds=progress.seconds,
            goodput_s=progress.goodput_s,
            checkpoint=checkpoint,
        )

    # --- state --------------------------------------------------------------------------------

    def _snapshot(
        self, k: int, metrics: Mapping[str, float] | None = None, threshold: float | None = None
    ) -> Snapshot:
        progress = self._progress[k]
        tensors, state = take(self._stack, self._optimizer, self._scaler, k, progress)
        state |= {"precision": self._format.name, "precision_reason": self._format.reason}
        shown = progress.metrics if metrics is None else metrics
        return Snapshot(
            tensors=tensors,
            documents=documents(self._live[k], self._data, state, shown, threshold),
        )

    def _restored(self, k: int, resume: Mapping[int, Snapshot]) -> Progress:
        snapshot = resume.get(self._live[k].trial)
        if snapshot is None:
            return Progress()
        return put(snapshot, self._stack, self._optimizer, self._scaler, k)

    def _clock(self) -> None:
        """Book the time since the last call on the live members; step time in equal shares."""
        seconds, step_s = self._watch.lap()
        for progress in self._progress:
            progress.seconds += seconds
            progress.goodput_s += step_s / len(self._progress)
