"""Decides how long a trial trains where ``training.epochs`` is not given: by its training rows.

Small tables may take hundreds of passes and large ones one or two; most trials end before, when
validation no longer improves. The numbers were chosen in ``tests/benchmarks/training_length.md``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from jamba_ray.config.training import Schedule, TrainingSection

_MOST_ROWS = 2**20
"""Rows that a trial sees at most, as whole passes ..."""
_EPOCHS = (2, 200)
"""... of which it makes so many at least and at most."""
_EPOCHS_GIVEN = 10.0
"""For settings that say how rates fall and not for how long, and for sweeps over the epochs."""
_BATCH_SIZES = (16, 256)
_BATCHES_AN_EPOCH = 8
"""Batches of an epoch that small tables have at least."""
_REPORT_EPOCHS = 3 / 8
_REPORT_BATCHES = 32
"""Batches between two reports at least, so that a report is not the chance of a few steps."""
_REPORT_ROWS = 2**16
"""Rows between two reports at most, or 32 batches."""
_PATIENCE = 4
_USUAL_REPORTS = 26
"""Reports of a trial that ends when it stops improving, for forecasts."""


@dataclass(frozen=True)
class Length:
    """Holds the settings of ``training`` that the rows decide where they are not given."""

    epochs: float
    """The most; with the schedule ``plateau`` trials end before."""
    batch_size: int
    report_rows: int | None
    patience: int
    schedule: Schedule | None

    @property
    def is_open(self) -> bool:
        """Says whether a trial may end before its last epoch, when it no longer improves."""
        return self.schedule == "plateau" and self.patience > 0


def length_of(section: TrainingSection, n_rows: int) -> Length:
    """Returns the length of trials on ``n_rows`` training rows; what is given stays as it is."""
    schedule = section.schedule
    if schedule is None and section.epochs is None:
        schedule = "plateau"
    is_plateau = schedule == "plateau"
    by_rows = is_plateau or section.epochs is None
    batch = section.batch_size
    if batch is None:
        batch = max(batch_of(n_rows), 4 * section.accumulate) if by_rows else _BATCH_SIZES[1]
    epochs = section.epochs
    if epochs is None:
        epochs = float(min(max(round(_MOST_ROWS / n_rows), _EPOCHS[0]), _EPOCHS[1]))
    patience = section.patience
    if patience is None:
        patience = _PATIENCE if is_plateau else 0
    report_rows = section.report_rows
    if report_rows is None and is_plateau:
        report_rows = _report_rows(n_rows, batch)
    return Length(epochs, batch, report_rows, patience, schedule)


def batch_of(n_rows: int) -> int:
    """Returns the batch size for ``n_rows`` training rows."""
    return min(_BATCH_SIZES[1], max(_BATCH_SIZES[0], n_rows // _BATCHES_AN_EPOCH))


def settled(section: TrainingSection, n_rows: int) -> TrainingSection:
    """Returns ``section`` with its length in numbers: a run that keeps it trains as long on other
    rows, and with other rules in a later version."""
    return section.model_copy(update=asdict(length_of(section, n_rows)))


def settled_sweep(
    section: TrainingSection, n_rows: int, searched: frozenset[str]
) -> TrainingSection:
    """Returns ``settled`` for a sweep over the settings ``searched``, by their dotted paths.

    Trials whose epochs are searched train for as many as their parameter says.
    """
    if section.epochs is None and "training.epochs" in searched:
        section = section.model_copy(update={"epochs": _EPOCHS_GIVEN})
    return settled(section, n_rows)


def as_begun(section: TrainingSection, begun: Mapping[str, Any]) -> TrainingSection:
    """Returns ``section`` with the length that its run was begun with, unless it names another.

    Args:
        section: As it was given to resume the run.
        begun: ``training.epochs`` and so on of the run, as it was begun. Those of versions that
            always trained for ten epochs have them too.
    """
    if section.epochs is not None:
        return section
    names = Length.__dataclass_fields__
    kept = {n: begun.get(f"training.{n}") for n in names if getattr(section, n) is None}
    tree = section.model_dump(mode="json") | {n: v for n, v in kept.items() if v is not None}
    return TrainingSection.model_validate(tree)


def most_rows(section: TrainingSection, n_rows: int) -> int:
    """Returns the rows that a trial sees at most."""
    return max(1, round(length_of(section, n_rows).epochs * n_rows))


def usual_rows(section: TrainingSection, n_rows: int) -> int:
    """Returns the rows that a trial sees unless a rung stops it: a guess where it ends by
    itself."""
    length, most = length_of(section, n_rows), most_rows(section, n_rows)
    if not length.is_open or length.report_rows is None:
        return most
    return min(most, _USUAL_REPORTS * length.report_rows)


def _report_rows(n_rows: int, batch: int) -> int:
    """Returns the rows between two reports, in whole batches."""
    wanted = min(_REPORT_EPOCHS * n_rows, _REPORT_ROWS)
    return max(_REPORT_BATCHES, math.ceil(wanted / batch)) * batch
