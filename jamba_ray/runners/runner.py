"""Trains stack after stack in this process and records every error of a trial as its failure."""

from __future__ import annotations

import contextlib
import gc
import math
import os
import re
import time
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

import torch

from jamba_ray.checkpoints import Kind, Snapshot, step_of
from jamba_ray.config.params import with_params
from jamba_ray.config.run import TrialConfig
from jamba_ray.data.prepared import PreparedData
from jamba_ray.errors import CheckpointError, ConfigError, JambaError, StorageError, one_line
from jamba_ray.runners.fold_trainer import FoldCalls, FoldTrainer
from jamba_ray.runners.latest_checkpoint import LatestCheckpoints, Told
from jamba_ray.runners.report_check import by_trial, checked, is_number
from jamba_ray.runners.trial_costs import TrialCosts
from jamba_ray.runners.watchdog import Watchdog
from jamba_ray.runs.file_writes import append_log
from jamba_ray.runs.refusal import retry_store
from jamba_ray.runs.row_log import RowLog
from jamba_ray.runs.run_folder import RunFolder
from jamba_ray.study.records import TrialOutcome, TrialSpec
from jamba_ray.training import KEPT, Decision, Member, Outcome, Report, fit
from jamba_ray.training.snapshot_io import differences

T = TypeVar("T")

SAVE_EVERY_S = 2.0
"""Least seconds between two writes of a running trial's resumable state."""
SAVE_SHARE = 0.035
"""The share of a runner's time that saving may take."""

Fit = Callable[..., list[Outcome]]
"""``jamba_ray.training.fit``, or its replacement."""
Reporter = Callable[[Sequence[Report]], Sequence[Decision]]


class DetachedError(BaseException):
    """Reports that the runner lost its study: it must stop at once, and no trial is at fault.

    It is no ``Exception``, so that code which catches a trial's errors does not catch it.
    """


class Runner:
    """Trains stacks on ``data`` with ``threads`` intra-op threads; tracebacks go to its log."""

    objective_key = ""
    """The metric that a report is judged by: 'val/<objective>'."""

    def __init__(
        self,
        folder: RunFolder,
        data: PreparedData,
        *,
        threads: int = 1,
        device: str = "cpu",
        fit: Fit = fit,
        rows: bool = True,
        hang_timeout_s: float | None = None,
        patience_s: float = 60.0,
        waiting: Callable[[str | None], object] = lambda sentence: None,
        note: Callable[[str], object] = lambda sentence: None,
        tell_log: Callable[[str, str], object] | None = None,
        saved: Told = lambda trial, step: None,
        measures_costs: bool = False,
        fold_calls: FoldCalls | None = None,
    ) -> None:
        """Sets up a runner.

        Args:
            folder: The run.
            data: Rows of every trial; with folds, trials train on the first fold and then on the
                others.
            threads: Intra-op threads of torch.
            device: Where to train.
            fit: Replaces ``jamba_ray.training.fit``.
            rows: Whether each report is written to the run's local rows.
            hang_timeout_s: Seconds without a report after which this process ends.
            patience_s: Seconds for which a refused write to the store is retried.
            waiting: Called with a sentence at each retry, and with None when it ends.
            note: Called with each sentence for the summary.
            tell_log: Called with the log's name and each entry, where the run folder lies on
                another machine.
            saved: Called for each resumable checkpoint.
            measures_costs: Whether latency and size of each trained model are measured.
            fold_calls: Answers what follows a finished fold, where ``data`` has folds.
        """
        whole, data = data, data.searched
        self.costs = TrialCosts(data, wanted=measures_costs)
        torch.set_num_threads(threads)
        self._rows = RowLog(folder.path) if rows else None
        self._members: dict[int, Member] = {}
        self._data, self._device = data, device
        self._fit = fit
        self._store = folder.checkpoint_store(patience_s)
        self._newest = LatestCheckpoints(self._store, self._say, saved)
        self._patience_s, self._waiting, self._note = patience_s, waiting, note
        self._tell_log = tell_log
        self._log = folder.logs / f"runner-{os.uname().nodename}-{os.getpid()}.log"
        self._watchdog = Watchdog(hang_timeout_s, self._log)
        self._folds: FoldTrainer | None = None
        if fold_calls is not None:
            save = lambda trial, fold, model: self._save(trial, fold, model, "fold")  # noqa: E731
            self._folds = FoldTrainer(whole, fold_calls, fit, device, save, self._watchdog.around)

    def train(
        self, specs: Sequence[TrialSpec], base: TrialConfig, report: Reporter
    ) -> list[TrialOutcome]:
        """Trains one stack to its end and returns one outcome per trial, in order.

        A trial that raises ends as 'failed', with a one-sentence reason and its traceback in the
        log.

        Raises:
            DetachedError: The study cannot be reached; no trial's state is known.
        """
        self.objective_key = f"val/{base.objective}"
        ended: dict[int, TrialOutcome] = {}
        members = []
        for spec in specs:
            try:
                members.append(self._member(spec, base))
            except Exception as error:
                ended[spec.number] = self._failed(spec, error)
        begun = {spec.number: spec for spec in specs if spec.folds}
        others = [member for member in members if member.trial in begun]
        members = [member for member in members if member.trial not in begun]
        resume = {j.number for j in specs if j.resumed and j.number not in ended}
        for spec in specs:
            self._newest.expect(spec.number, spec.saved)
        with self._watchdog:
            ended |= {m.trial: self._continued(begun[m.trial], m) for m in others}
            report = self._watchdog.around(report)
            try:
                outcomes = self._fit_all(members, resume, report)
            except (Exception, SystemExit) as error:
                outcomes = self._after_fault(members, resume, report, error)
        ended |= {
            spec.number: self._settled(spec, outcomes[spec.number])
            for spec in specs
            if spec.number in outcomes
        }
        return [ended[spec.number] for spec in specs]

    def _member(self, spec: TrialSpec, base: TrialConfig) -> Member:
        member = member_of(spec, base)
        self.costs.expect(member.trial, member.config)
        self._members[member.trial] = member
        return member

    def _fit_all(
        self, members: Sequence[Member], resume: set[int], report: Reporter
    ) -> dict[int, Outcome | BaseException]:
        if not members:
            return {}
        report = checked(self._written(report), self.objective_key)
        read = {m.trial: self._read(m) for m in members if m.trial in resume}
        snapshots = {n: found for n, found in read.items() if found is not None}
        outcomes = self._fit(
            members,
            self._data,
            report,
            device=self._device,
            save=Saver(self._save).save,
            resume=snapshots or None,
        )
        return by_trial(members, outcomes)

    def _save(self, trial: int, step: int, snapshot: Snapshot, kind: Kind) -> str:
        """Saves, and retries while the store refuses; raises DetachedError if the store is lost."""
        saved = self._retry(trial, lambda: self._store.save(trial, step, snapshot, kind))
        if kind == "step":
            self._newest.saved(trial, step)
        return saved

    def _read(self, member: Member) -> Snapshot | None:
        """Returns the newest checkpoint of a trial; raises DetachedError if the store is lost."""
        differs = partial(differences, member=member, data=self._data)
        return self._retry(member.trial, lambda: self._newest.read(member.trial, differs))

    def _retry(self, trial: int, call: Callable[[], T]) -> T:
        """Calls the store and retries; the loss of the store is no fault of the trial.

        Raises:
            DetachedError: It refused for good, or for ``patience_s``.
        """
        note = lambda sentence: self._write(f"trial {trial}: {sentence}")  # noqa: E731
        try:
            return retry_store(call, self._patience_s, self._waiting, note)
        except CheckpointError:
            raise
        except StorageError as error:
            raise DetachedError(error.message) from error

    def _written(self, report: Reporter) -> Reporter:
        """Wraps ``report`` to write each report to the local rows before the study receives it."""
        rows = self._rows
        if rows is None:
            return report

        def write(reports: Sequence[Report]) -> Sequence[Decision]:
            for r in reports:
                write_row = partial(rows.write, r.trial, r.step, r.metrics, **counts(r))
                self._retry(r.trial, write_row)
            return report(reports)

        return write

    def _after_fault(
        self,
        members: Sequence[Member],
        resume: set[int],
        report: Reporter,
        error: BaseException,
    ) -> dict[int, Outcome | BaseException]:
        """Trains the members of a failed stack one by one, so that only the faulty one fails.

        Reports are sent again from the start; the study gives the same answers.
        """
        if len(members) == 1:
            return {members[0].trial: error}
        outcomes: dict[int, Outcome | BaseException] = {}
        for member in members:
            try:
                outcomes |= self._fit_all([member], resume & {member.trial}, report)
            except (Exception, SystemExit) as own:
                outcomes[member.trial] = own
        return outcomes

    def _settled(self, spec: TrialSpec, outcome: Outcome | BaseException) -> TrialOutcome:
        """Returns the outcome as plain values, and saves its weights if the trial may win."""
        if isinstance(outcome, BaseException):
            return self._failed(spec, outcome)
        value = outcome.value
        sound = value is not None and math.isfinite(value)
        path, costs = None, {}
        if outcome.checkpoint is not None and sound and outcome.state in KEPT:
            try:
                costs = self.costs.final(outcome.checkpoint)
                path = self._save(spec.number, outcome.best_step, outcome.checkpoint, "best")
            except Exception as error:
                return self._failed(spec, error)
        told = TrialOutcome(
            number=outcome.trial,
            state=outcome.state,
            reason=outcome.reason,
            value=value,
            metrics={k: float(v) for k, v in outcome.metrics.items() if is_number(v)} | costs,
            best_step=outcome.best_step,
            rows_seen=outcome.rows_seen,
            epochs=outcome.epochs,
            seconds=outcome.seconds,
            goodput_s=outcome.goodput_s,
            checkpoint=path,
        )
        if self._folds is None or path is None:
            return told
        try:
            return self._folds.finish(self._members[outcome.trial], {}, outcome, told)
        except (Exception, SystemExit) as error:
            return self._failed(spec, error)

    def _continued(self, spec: TrialSpec, member: Member) -> TrialOutcome:
        """Returns the outcome of a trial whose first fold was finished before: it trains those
        that are missing."""
        known = {int(i): TrialOutcome(spec.number, **one) for i, one in spec.folds.items()}
        if self._folds is None:
            return known[1]
        try:
            return self._folds.finish(member, known)
        except (Exception, SystemExit) as error:
            return self._failed(spec, error)

    def _failed(self, spec: TrialSpec, error: BaseException) -> TrialOutcome:
        reason = root_cause(error)
        text = "".join(traceback.format_exception(error))
        self._write(f"trial {spec.number} failed: {reason}\n{spec.params}\n{text}")
        # The traceback holds the trial's tensors: free them for the next trial.
        error.__traceback__ = None
        gc.collect()
        return TrialOutcome(number=spec.number, state="failed", reason=reason)

    def _say(self, sentence: str) -> None:
        self._write(sentence)
        self._note(sentence)

    def _write(self, text: str) -> None:
        entry = f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n"
        if self._tell_log is not None:
            self._tell_log(self._log.name, entry)
        # A full disk must not hide the reason, which goes to the study.
        with contextlib.suppress(OSError):
            append_log(self._log, entry)


class Saver:
    """Saves resumable snapshots at a limited rate.

    A trial is saved every ``SAVE_EVERY_S`` seconds, or as often as all the trials of the runner
    together may with ``SAVE_SHARE`` of its time.
    """

    def __init__(self, save: Callable[[int, int, Snapshot, Kind], str]) -> None:
        self._save = save
        self._saved_at: dict[int, float] = {}
        self._took_s = 0.0

    def save(self, trial: int, snapshot: Snapshot) -> None:
        """Saves unless the trial was saved a moment ago."""
        now = time.monotonic()
        pause_s = save_every_s(self._took_s, [now - at for at in self._saved_at.values()])
        if now - self._saved_at.get(trial, -math.inf) < pause_s:
            return
        self._save(trial, step_of(snapshot), snapshot, "step")
        self._saved_at[trial] = now
        self._took_s = time.monotonic() - now


def save_every_s(took_s: float, ages_s: Sequence[float]) -> float:
    """Returns the seconds between two saves of a trial.

    Args:
        took_s: What the last save took.
        ages_s: For each trial of the runner, how long ago it was saved; what was not saved for ten
            times ``SAVE_EVERY_S`` has ended.
    """
    n_open = sum(age < 10 * SAVE_EVERY_S for age in ages_s)
    return max(SAVE_EVERY_S, n_open * min(took_s, SAVE_EVERY_S) / SAVE_SHARE)


def counts(report: Report) -> dict[str, float]:
    """Returns the counters of a report's local row."""
    return {
        "rows_seen": report.rows_seen,
        "epoch": report.epoch,
        "seconds": report.seconds,
        "goodput_s": report.goodput_s,
    }


def root_cause(error: BaseException) -> str:
    """Returns the one line of an error that matters, as a sentence without its full stop."""
    if isinstance(error, ConfigError):
        return " ".join(error.mistakes)
    if isinstance(error, JambaError):
        # Without the trial's number, so that equal failures of many trials count as one.
        return re.sub(r"^Trial \d+: ", "", error.message)
    if isinstance(error, SystemExit):
        return f"the training code called sys.exit({error.code!r})"
    while error.__cause__ is not None:
        error = error.__cause__
    said = one_line(error)
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return f"out of memory ({said})"
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({os.path.basename(frames[-1].filename)}:{frames[-1].lineno})" if frames else ""
    return f"{said}{where}"


def member_of(spec: TrialSpec, base: TrialConfig) -> Member:
    """Returns a trial as training takes it, with a seed of its own."""
    config = with_params(base, spec.params)
    if "seed" not in spec.params:
        config = config.model_copy(update={"seed": (base.seed + spec.number) % 2**31})
    return Member(trial=spec.number, config=config)
