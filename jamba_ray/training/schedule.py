"""Computes batches, reports and the learning rate, all pure functions of the position.

A trial is a stream of rows: permutation of epoch 0, of epoch 1, ... cut into batches regardless of
epoch ends. Every batch is full: shapes are static, no tiny batch upsets batch norm, and members of
a stack may stand at different positions. So ``epochs`` is rounded to whole batches.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from jamba_ray.config.training import TrainingSection

REPORTS = 16
"""Reports of a trial whose ``report_rows`` is None."""


@dataclass(frozen=True)
class Timetable:
    """Says which rows make up batch k and after which batches a report is due."""

    total_rows: int
    """Rows of the whole trial: epochs x training rows, rounded to whole batches."""
    batch_rows: int
    report_rows: int

    @classmethod
    def of(cls, section: TrainingSection, n_rows: int) -> Timetable:
        """Makes the timetable of a trial on ``n_rows`` training rows."""
        total = max(1, round(section.epochs * n_rows))
        report = section.report_rows or math.ceil(section.epochs * n_rows / REPORTS)
        batch = min(section.batch_size, total)
        n_batches = (total + batch // 2) // batch
        return cls(total_rows=n_batches * batch, batch_rows=batch, report_rows=max(1, report))

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
    def n_reports(self) -> int:
        """Returns how many reports a trial makes that is not ended early."""
        step = batches = 0
        while batches < self.n_batches:
            step += 1
            batches = self.next_report(step, batches)
        return step


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
