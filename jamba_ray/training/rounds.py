"""Runs a trial whose model grows in rounds (trees): the same reports, decisions and outcomes as of
a network.

A trial makes as many reports as a network of the same ``training`` section, evenly spaced in
rounds; ``rows_seen`` counts as if the rounds had been trained over the same epochs, so that one
pruner serves all.
"""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from jamba_ray.checkpoints.snapshot import Snapshot
from jamba_ray.config.training import TrainingSection
from jamba_ray.config.training_length import most_rows
from jamba_ray.data.prepared import PreparedData, Rows
from jamba_ray.models.lightgbm import threads_for
from jamba_ray.training.loss import threat_weight
from jamba_ray.training.member import (
    KEPT,
    Member,
    Outcome,
    Report,
    Reporter,
    Save,
    State,
    ending,
)
from jamba_ray.training.progress import Progress
from jamba_ray.training.schedule import REPORTS, Timetable
from jamba_ray.training.snapshot_io import documents
from jamba_ray.training.validation import (
    ROBUSTNESS,
    final_metrics,
    judge,
    judged_rows_of,
    most_judged,
    objective_value,
    sample,
)

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class RoundTable:
    """Decides after which boosting rounds reports are due."""

    n_rounds: int
    n_reports: int
    total_rows: int
    report_rows: int
    patience: int = 0

    @classmethod
    def of(cls, section: TrainingSection, n_rows: int, n_rounds: int) -> RoundTable:
        """Makes a table of as many reports as a network makes, at most one a round.

        There are sixteen where networks train until they no longer improve: the rounds are given.
        """
        table, total_rows = Timetable.of(section, n_rows), most_rows(section, n_rows)
        if table.is_plateau:
            total_rows = min(total_rows, REPORTS * table.report_rows)
        n_reports = min(math.ceil(total_rows / table.report_rows), n_rounds)
        return cls(n_rounds, n_reports, total_rows, table.report_rows, table.ends_after)

    def rounds_at(self, step: int) -> int:
        """Returns the rounds done at report ``step``."""
        return math.ceil(self.n_rounds * step / self.n_reports)

    def reports_in(self, rounds: int) -> int:
        """Returns how many reports so many rounds are, at least one."""
        return math.ceil(rounds * self.n_reports / self.n_rounds)

    def rows_at(self, step: int) -> int:
        """Returns what ``rows_seen`` is at report ``step``."""
        return self.total_rows if step >= self.n_reports else step * self.report_rows


@dataclass(frozen=True)
class Model:
    """Holds what a snapshot has of a model."""

    arrays: Mapping[str, npt.NDArray[Any]]
    documents: Mapping[str, Any]
    blobs: Mapping[str, bytes]


class RoundTrial(ABC):
    """Trains one trial in rounds."""

    kind: str
    """The trainer's name in the snapshot's ``state``."""

    def __init__(
        self,
        member: Member,
        data: PreparedData,
        report: Reporter,
        save: Save | None,
        n_rounds: int,
        patience_rounds: int | None = None,
    ) -> None:
        self._member, self._data, self._report, self._save = member, data, report, save
        training = member.config.training
        self._table = RoundTable.of(training, len(data.train), n_rounds)
        reports = self._table.reports_in(patience_rounds) if patience_rounds else 0
        self._patience = self._table.patience or reports
        objectives = member.config.objectives
        judged = sample(data.val, training.val_rows or most_judged(objectives))
        self._judged_y = judged.y
        self._judged = judged_rows_of(judged, objectives, data.attacker)
        self._progress = Progress(keeps_last=member.keeps_last)
        self._state: State = "complete"
        self._reason: str | None = None
        self._ended = False
        self._lap = time.perf_counter()

    @abstractmethod
    def _grow(self) -> None:
        """Trains round by round, with ``_reached`` after each, until ``_ended``."""

    @abstractmethod
    def _model(self) -> Model:
        """Returns the model of the best rounds, and what is needed to go on."""

    @abstractmethod
    def _final_scores(self, snapshot: Snapshot, rows: Rows) -> Floats:
        """Returns the probabilities of ``rows`` by the best rounds."""

    def run(self) -> Outcome:
        """Runs all rounds and returns the outcome."""
        self._lap = time.perf_counter()
        self._grow()
        return self._outcome()

    # --- while it grows -----------------------------------------------------------------------

    @property
    def _next_report(self) -> int:
        """Returns the rounds after which the next report is due."""
        return self._table.rounds_at(self._progress.step + 1)

    def _reached(self, rounds: int, p_val: Floats, train_loss: float) -> None:
        """Reports after ``rounds`` rounds, and ends the trial where the decision says so."""
        progress = self._progress
        progress.batches = rounds
        progress.rows_seen = self._table.rows_at(progress.step + 1)
        progress.goodput_s += self._clock()
        report = self._judge(p_val, train_loss)
        self._clock()
        if report is not None:
            self._act(report)
        self._clock()

    def _judge(self, p_val: Floats, train_loss: float) -> Report | None:
        """Validates; returns None where the scores are not finite, which ends the trial as
        failed."""
        progress, config = self._progress, self._member.config
        if not np.isfinite(p_val).all():
            rate = getattr(self._member.config.model, "learning_rate", 0.0)
            self._end(
                "failed",
                f"Scores must be finite, but some are not after {progress.batches} rounds; lower "
                f"`model.learning_rate` ({rate:g}).",
            )
            return None
        metrics = {"train/loss": train_loss, **judge(config.objectives, self._judged_y, p_val)}
        progress.judge(config.objective, metrics)
        return progress.report(self._member.trial, len(self._data.train), metrics)

    def _act(self, report: Report) -> None:
        (decision,) = self._report([report])
        patience, stale = self._patience, self._progress.stale
        is_end = self._progress.batches >= self._table.n_rounds
        end = ending(decision, is_end, stale, patience)
        if end is not None:
            self._end(*end)
        if self._save is not None and (end is None or end[0] == "stopped"):
            self._save(self._member.trial, self._snapshot())

    def _end(self, state: State, reason: str | None) -> None:
        self._ended, self._state, self._reason = True, state, reason

    # --- the end ------------------------------------------------------------------------------

    def _outcome(self) -> Outcome:
        progress, value, checkpoint = self._progress, None, None
        metrics: dict[str, float] = {}
        if self._state in KEPT and progress.step:
            y, snapshot = self._data.val.y, self._snapshot()
            config = self._member.config
            scores = self._final_scores(snapshot, self._data.val)
            threshold, metrics = final_metrics(y, scores)
            if ROBUSTNESS in config.objectives:
                attacked = self._final_scores(snapshot, self._judged)
                found = objective_value(ROBUSTNESS, self._judged_y, attacked)
                metrics = {**metrics, f"val/{ROBUSTNESS}": found}
            if config.objective == ROBUSTNESS:
                value = metrics[f"val/{ROBUSTNESS}"]
            else:
                value = objective_value(config.objective, y, scores)
            self._clock()
            checkpoint = self._described(snapshot, metrics, threshold)
        return Outcome(
            trial=self._member.trial,
            state=self._state,
            reason=self._reason,
            value=value,
            metrics=metrics,
            best_step=progress.best_step,
            rows_seen=progress.rows_seen,
            epochs=progress.rows_seen / len(self._data.train),
            seconds=progress.seconds,
            goodput_s=progress.goodput_s,
            checkpoint=checkpoint,
        )

    def _snapshot(self) -> Snapshot:
        model = self._model()
        found = Snapshot(dict(model.arrays), dict(model.documents), dict(model.blobs))
        return self._described(found, self._progress.metrics, None)

    def _described(
        self, model: Snapshot, metrics: Mapping[str, float], threshold: float | None
    ) -> Snapshot:
        state = {"kind": self.kind, **self._progress.to_json(), "best_rounds": self._best_rounds}
        described = documents(self._member, self._data, state, metrics, threshold)
        return Snapshot(model.tensors, {**model.documents, **described}, model.blobs)

    @property
    def _best_rounds(self) -> int:
        return self._table.rounds_at(self._progress.best_step)

    @property
    def _threat_weight(self) -> float:
        share = float(self._data.train.y.mean(dtype=np.float64))
        return threat_weight(self._member.config.training.threat_weight, share)

    def _clock(self) -> float:
        """Returns the seconds since the last call, and counts them as training time."""
        now = time.perf_counter()
        seconds, self._lap = now - self._lap, now
        self._progress.seconds += seconds
        return seconds


def threads_of(rows: Rows) -> int:
    """Returns the threads that ``rows`` repay, at most as many as torch may use."""
    n_columns = rows.x_num.shape[1] + rows.x_cat.shape[1]
    return threads_for(len(rows), n_columns, torch.get_num_threads())


def log_loss(y: npt.NDArray[np.float32], p: Floats) -> float:
    """Returns the mean log loss of probabilities [N]."""
    right = np.where(y == 1.0, p, 1.0 - p)
    return float(-np.log(np.maximum(right, np.finfo(np.float64).eps)).mean())
