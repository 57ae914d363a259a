"""Divides raw rows into train, validation and tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from jamba_ray.config.data import CALIBRATION, SplitSection
from jamba_ray.data import splits
from jamba_ray.data.labels import LabelRule
from jamba_ray.data.raw_table import RawColumns, RawTable
from jamba_ray.data.splits import Hashes, Indices, Labels
from jamba_ray.data.times import Times, TimeValues
from jamba_ray.errors import DataError


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
    same: Hashes | None = None
    """[N], equal for rows with the same features; None where they were not looked for."""

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
            same=None if self.same is None else self.same[rows],
        )


@dataclass(frozen=True)
class Parts:
    """Holds raw rows by their use: train, validation and tests."""

    train: Source
    val: Source
    tests: Mapping[str, Source] = field(default_factory=dict)
    kind: str = "random"
    """How rows were divided: ``random``, ``time`` or ``group``."""
    notes: tuple[str, ...] = ()
    """Sentences on how rows were divided."""
    cut: frozenset[str] = frozenset()
    """The tests that were cut from the rows of the training table."""

    def named(self) -> dict[str, Source]:
        """Returns every part by name."""
        return {"train": self.train, "val": self.val, **self.tests}


def divide(
    source: Source,
    tests: Mapping[str, Source],
    split: SplitSection,
    same: Callable[[], Hashes] | None = None,
) -> Parts:
    """Cuts the test rows (unless a file has them), then those of ``calibration``, then the
    validation rows from ``source``.

    ``same`` computes hashes [N] that are equal for rows with the same features; it is called where
    the split needs them. Raises DataError where rows cannot be divided as asked.
    """
    kind, why = splits.chosen_kind(split, source.time, source.group, source.y)
    split = split.model_copy(update={"kind": kind})
    if same is not None and (split.repeats == "leave_out" or kind != "time"):
        source = replace(source, same=same() if split.repeats != "anywhere" else None)
    kept, left, cut = source, 1.0, dict[str, Source]()
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
    rest, held = _cut(kept, split.val / left, split, "val")
    parts = Parts(kept.take(rest), kept.take(held), _in_order(cut, tests), kind, cut=frozenset(cut))
    notes = [why, *_repeats(source, parts, split)]
    if split.repeats == "leave_out":
        new = {name: new_rows(parts.train, part) for name, part in cut.items()}
        val = new_rows(parts.train, parts.val)
        parts = replace(parts, val=val, tests=_in_order(new, tests))
    return replace(parts, notes=tuple(note for note in notes if note))


def _in_order(cut: Mapping[str, Source], tests: Mapping[str, Source]) -> dict[str, Source]:
    """Returns the parts that were cut and those of files, ``test`` first."""
    first = {name: tests[name] for name in ("test",) if name in tests}
    return {**first, **cut, **tests}


def _cut(source: Source, share: float, split: SplitSection, part: str) -> tuple[Indices, Indices]:
    seed = (2 * split.seed + (part == "test")) % 2**32
    if part == CALIBRATION:
        seed ^= 2**31
    same = source.same if split.repeats == "together" else None
    if split.kind == "time" and source.time is not None:
        return splits.by_time(source.time, share)
    if split.kind == "group" and source.group is not None:
        # The groups that the user wants to validate on must still be there after the other cuts.
        holdout, never = (split.holdout, ()) if part == "val" else ((), split.holdout)
        return splits.by_group(
            source.group, source.y, share, seed, holdout=holdout, never=never, same=same
        )
    return splits.by_chance(source.y, share, seed, same)


def _repeats(source: Source, parts: Parts, split: SplitSection) -> list[str]:
    """Says what was done about rows with the same features, and how many of them disagree."""
    if source.same is None or (split.kind == "group" and split.repeats == "together"):
        return []
    _, unit, sizes = np.unique(source.same, return_inverse=True, return_counts=True)
    n_repeated, n = int((sizes[unit] > 1).sum()), len(source)
    if not n_repeated:
        return []
    threats = np.bincount(unit, source.y, len(sizes))
    torn = int(sizes[(threats > 0) & (threats < sizes)].sum())
    disagree = f", {torn:,} of them with labels that disagree" if torn else ""
    said = f"{n_repeated:,} of {n:,} rows share their features with another{disagree}"
    if split.repeats == "together":
        return [
            f"{said}; such rows stay on one side of the split "
            "(data.split.repeats=anywhere divides them by chance)."
        ]
    out = {
        name: int(splits.repeated(parts.train.same, part.same).sum())
        for name, part in parts.named().items()
        if name != "train" and part.same is not None and parts.train.same is not None
    }
    cut = " and ".join(f"{rows:,} {name} rows" for name, rows in out.items())
    return [f"{said}; the {cut} that repeat a training row are left out."]


def new_rows(train: Source, held: Source) -> Source:
    """Returns the held rows that repeat no training row.

    Raises:
        DataError: There is none.
    """
    if train.same is None or held.same is None:
        return held
    new = np.flatnonzero(~splits.repeated(train.same, held.same))
    if not len(new):
        raise DataError(
            "data.split.repeats=leave_out must leave rows that validate and test, but all "
            f"{len(held):,} of a part repeat a training row; use data.split.repeats=together."
        )
    return held.take(new)
