"""Computes batches, reports and the learning rate, all pure functions of the position.

A trial is a stream of rows: permutation of epoch 0, of epoch 1, ... cut into batches regardless of
epoch ends. Every batch is full: shapes are static, no tiny batch upsets batch norm, and members of
a stack may stand at different positions. So ``epochs`` is rounded to whole batches.

With the schedule ``plateau`` the position is not enough: a member's rate is at its peak until it no
longer improves, and is then lowered to zero over a quarter of the steps that it had (Hägele et al.
2024, "Scaling Laws and Compute-Optimal Training Beyond Fixed Training Durations"). The report at
which that begins is a part of the member's state, ``cooling_from`` here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

from jamba_ray.config.training import TrainingSection
from jamba_ray.config.training_length import length_of, most_rows, usual_rows

REPORTS = 16
"""Reports of a trial whose ``report_rows`` is None; with ``plateau``, those that ``warmup`` is a
share of."""
_COOLING = 0.25
"""Share of a member's steps over which its rate is then lowered ..."""
_FEWEST_COOLING = 2
"""... or so many reports."""


@dataclass(frozen=True)
class Timetable:
    """Says which rows make up batch k and after which batches a report is due."""

    total_rows: int
    """Rows of the whole trial: epochs x training rows, rounded to whole batches."""
    batch_rows: int
    report_rows: int
    patience: int = 0
    """Reports without improvement that end a member, or that lower its rate."""
    is_plateau: bool = False
    """Whether rates stay at their peak until members no longer improve."""
    usual_rows: int = 0
    """Rows that are expected of a member; 0: all."""

    @classmethod
    def of(cls, section: TrainingSection, n_rows: int) -> Timetable:
        """Makes the timetable of a trial on ``n_rows`` training rows."""
        length, total = length_of(section, n_rows), most_rows(section, n_rows)
        report = length.report_rows or math.ceil(length.epochs * n_rows / REPORTS)
        batch = min(length.batch_size, total)
        n_batches = (total + batch // 2) // batch
        return cls(
            total_rows=n_batches * batch,
            batch_rows=batch,
            report_rows=max(1, report),
            patience=length.patience,
            is_plateau=length.schedule == "plateau",
            usual_rows=usual_rows(section, n_rows),
        )

    @property
    def n_batches(self) -> int:
        """Returns the number of optimizer steps of the whole trial."""
        return self.total_rows // self.batch_rows

    def rows_after(self, batches: int) -> int:
        """Returns the rows seen after so many batches."""
        return batches * self.batch_rows

    def next_report(self, step: int, batches: int) -> int:
        """Returns the batches after which report ``step`` is due, given that ``batches`` are done.

        That is once rows_seen >= step x report_rows, or at the end; at most one report a batch.
        """
        due = math.ceil(step * self.report_rows / self.batch_rows)
        return min(max(due, batches + 1), self.n_batches)

    @property
    def usual_batches(self) -> int:
        """Returns the optimizer steps that are expected of a trial."""
        return min(self.n_batches, math.ceil(self.usual_rows / self.batch_rows)) or self.n_batches

    @property
    def ends_after(self) -> int:
        """Returns after how many reports without improvement a member ends; 0: it does not."""
        return 0 if self.is_plateau else self.patience

    def cools_now(self, step: int, stale: int) -> bool:
        """Says whether a rate that is at its peak is lowered from report ``step`` on: the member
        has not improved for ``stale`` reports, or the rows come to an end."""
        if not self.is_plateau:
            return False
        is_late = step + 1 + cooling_reports(step + 1) > self.n_reports
        return is_late or 0 < self.patience <= stale

    def end(self, cooling_from: int | None) -> int:
        """Returns the number of optimizer steps of a member."""
        if cooling_from is None:
            return self.n_batches
        return self.batches_at(cooling_from + cooling_reports(cooling_from))

    def batches_at(self, step: int) -> int:
        """Returns the batches that are done at report ``step``."""
        return min(max(math.ceil(step * self.report_rows / self.batch_rows), step), self.n_batches)

    def lr_factor(self, batch: int, warmup: float, cooling_from: int | None) -> float:
        """Returns the share of the peak learning rate that batch ``batch`` (from 0) has."""
        if not self.is_plateau:
            return lr_factor(batch_progress(batch, self.n_batches), warmup)
        first = self.n_batches if cooling_from is None else self.batches_at(cooling_from)
        if batch >= first:
            return lr_factor(batch_progress(batch - first, self.end(cooling_from) - first), 0.0)
        rise = warmup * self.batches_at(REPORTS)
        return min(1.0, (batch + 0.5) / rise) if rise > 0.0 else 1.0

    @cached_property
    def n_reports(self) -> int:
        """Returns how many reports a trial makes that is not ended early."""
        step = batches = 0
        while batches < self.n_batches:
            step += 1
            batches = self.next_report(step, batches)
        return step


def cooling_reports(step: int) -> int:
    """Returns over how many reports a rate is lowered that was at its peak for ``step``."""
    return max(_FEWEST_COOLING, math.ceil(_COOLING * step))


def lr_factor(progress: float, warmup: float) -> float:
    """Returns the share of the peak learning rate: a linear rise over ``warmup``, then half a
    cosine to zero.

    ``progress`` in [0, 1] is the share of the trial that is done; batch k of n stands at
    (k + 0.5) / n, so no batch has rate zero.
    """
    if progress < warmup:
        return progress / warmup
    return 0.5 * (1.0 + math.cos(math.pi * (progress - warmup) / (1.0 - warmup)))


def batch_progress(batch: int, n_batches: int) -> float:
    """Returns the progress of batch ``batch`` (from 0) of ``n_batches``."""
    return (batch + 0.5) / n_batches
