"""Divides raw rows into train, validation and tests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from jamba_ray.config.data import CALIBRATION, SplitSection
from jamba_ray.data import splits
from jamba_ray.data.labels import LabelRule
from jamba_ray.data.raw_table import RawColumns, RawTable
from jamba_ray.data.splits import Indices, Labels
from jamba_ray.data.times import Times, TimeValues


@dataclass(frozen=True)
class Source:
    """Holds N rows of a raw table with the contents of each of its special columns."""

    name: str
    table: RawTable
    rows: Indices
    """[N], where in the table each row stands."""
    y: Labels
    group: npt.NDArray[np.str_] | None = None
    time: TimeValues | None = None
    bayes: npt.NDArray[np.float64] | None = None
    times: Times | None = None
    """How ``time`` was read; None where it is no column of files."""
    rule: LabelRule | None = None
    """How ``y`` was read, where the labels were not 0 and 1."""
    notes: tuple[str, ...] = ()
    """Sentences on what was assumed of the table."""
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Columns of the table that were not read -> why."""

    def __len__(self) -> int:
        return len(self.y)

    @property
    def columns(self) -> RawColumns:
        """Returns the raw columns of these rows."""
        return RawColumns(self.table, self.rows)

    def take(self, rows: Indices) -> Source:
        """Returns the rows at these positions."""
        return replace(
            self,
            rows=self.rows[rows],
            y=self.y[rows],
            group=None if self.group is None else self.group[rows],
            time=None if self.time is None else self.time[rows],
            bayes=None if self.bayes is None else self.bayes[rows],
        )


@dataclass(frozen=True)
class Parts:
    """Holds raw rows by their use: train, validation and tests."""

    train: Source
    val: Source
    tests: Mapping[str, Source] = field(default_factory=dict)

    def named(self) -> dict[str, Source]:
        """Returns every part by name."""
        return {"train": self.train, "val": self.val, **self.tests}


def divide(source: Source, tests: Mapping[str, Source], split: SplitSection) -> Parts:
    """Cuts the test rows (unless a file has them), then those of ``calibration``, then the
    validation rows from ``source``."""
    kept, left, cut = source, 1.0, {name: tests[name] for name in ("test",) if name in tests}
    if "test" not in tests and split.test > 0.0:
        rest, held = _cut(kept, split.test, split, "test")
        kept, left, cut["test"] = kept.take(rest), left - split.test, kept.take(held)
    if split.calibration > 0.0:
        rest, held = _cut(kept, split.calibration / left, split, CALIBRATION)
        kept, left, cut[CALIBRATION] = (
            kept.take(rest),
            left - split.calibration,
            kept.take(held),
        )
    train, val = _cut(kept, split.val / left, split, "val")
    return Parts(kept.take(train), kept.take(val), {**cut, **tests})


def _cut(source: Source, share: float, split: SplitSection, part: str) -> tuple[Indices, Indices]:
    seed = (2 * split.seed + (part == "test")) % 2**32
    if part == CALIBRATION:
        seed ^= 2**31
    if split.kind == "time" and source.time is not None:
        return splits.by_time(source.time, share)
    if split.kind == "group" and source.group is not None:
        # The groups that the user wants to validate on must still be there after the other cuts.
        holdout, never = (split.holdout, ()) if part == "val" else ((), split.holdout)
        return splits.by_group(source.group, source.y, share, seed, holdout=holdout, never=never)
    return splits.by_chance(source.y, share, seed)
