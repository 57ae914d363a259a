"""Transforms the raw rows of every part with a fitted preprocessing, a few columns at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from jamba_ray.data.cells import Counted
from jamba_ray.data.column_kinds import check_kinds
from jamba_ray.data.duplicates import RowHashes
from jamba_ray.data.leaks import telling_features
from jamba_ray.data.parts import Source
from jamba_ray.data.preprocessing import Known, Preprocessor, check_columns
from jamba_ray.data.splits import Hashes

Make: TypeAlias = Callable[[str, str, tuple[int, int], npt.DTypeLike], npt.NDArray[Any]]
"""An array to fill, given part, name, shape and type."""


@dataclass(frozen=True)
class Matrices:
    """Holds the matrices of one part with N rows, F_n numeric and F_c categorical features."""

    x_num: npt.NDArray[np.float32]
    """[N, F_n]."""
    x_cat: npt.NDArray[np.int64]
    """[N, F_c]."""
    hashes: Hashes
    """[N], of the raw cells."""
    telling: frozenset[str]
    """Features that alone tell the label; looked for among the training rows."""
    unreadable: Mapping[str, Counted]
    """By numeric column, its cells that are set but no number; not looked for among the training
    rows, which the notes on columns are about."""
    misread: Mapping[str, float]
    """See ``Preprocessor.misread``."""
    missing: Mapping[str, int]
    """By column, its cells that counted as missing; columns without any left out."""
    unseen: Unseen
    """Cells that training never saw."""


class Unseen:
    """Counts rows and cells that hold something the training rows do not."""

    def __init__(self, n_rows: int) -> None:
        self.any = np.zeros(n_rows, dtype=bool)
        self.columns: dict[str, int] = {}
        self.expected = 0.0
        """Share of rows that chance alone brings."""

    def add(
        self, preprocessor: Preprocessor, frame: pd.DataFrame, known: Mapping[str, Known]
    ) -> None:
        """Adds some columns of all rows."""
        for name, cells in preprocessor.unseen(frame, known).items():
            self.any |= cells
            self.columns[name] = int(cells.sum())
        self.expected += sum(one.chance for one in known.values())


def unseen_shares(found: Unseen) -> dict[str, Any]:
    """Returns ``unseen`` of ``overview``: the five columns with most of it."""
    n = max(len(found.any), 1)
    most = sorted(found.columns.items(), key=lambda one: (-one[1], one[0]))[:5]
    return {
        "rows": len(found.any),
        "share": float(found.any.sum()) / n,
        "expected": min(found.expected, 1.0),
        "columns": {name: cells / n for name, cells in most if cells},
    }


def in_memory(
    part: str, name: str, shape: tuple[int, int], dtype: npt.DTypeLike
) -> npt.NDArray[Any]:
    """Makes an array in memory, as ``Make`` describes."""
    return np.empty(shape, dtype)


def matrices(
    parts: Mapping[str, Source], preprocessor: Preprocessor, make: Make = in_memory
) -> dict[str, Matrices]:
    """Transforms every part, and looks through it for repeated rows and leaks.

    Raises DataError where a part lacks a column.
    """
    for part in parts.values():
        check_columns(part.table.columns, preprocessor.columns, part.name)
    known: dict[str, Known] = {}  # filled by the training rows, which come first
    filling = {
        name: _Filling(name, part, preprocessor, make, known) for name, part in parts.items()
    }
    for table in dict.fromkeys(part.table for part in parts.values()):
        for group in table.groups(preprocessor.columns):
            frame = table.read(group)
            for filled in filling.values():
                if filled.part.table is table:
                    filled.add(frame.iloc[filled.part.rows], group)
    return {name: filled.done() for name, filled in filling.items()}


def unreadable_notes(made: Mapping[str, Matrices]) -> tuple[str, ...]:
    """Returns sentences on numeric columns that other rows than training write in another way.

    Their cells are no numbers, or may be others than were meant; each sentence names one.
    """
    counts: dict[str, list[str]] = {}
    for part, rows in made.items():
        for name, odd in rows.unreadable.items():
            of = f"{odd.cells:,} of {len(rows.x_num):,} {part} rows (such as {odd.shown!r})"
            counts.setdefault(name, []).append(of)
    unread = [
        f"Column {name!r} holds no number in {' and '.join(parts)}, taken as missing there."
        for name, parts in counts.items()
    ]
    misread = [
        f"Column {name!r} has a point between thousands in training; of the {part} rows, numbers "
        f"such as {shown:g} are taken as decimals, for none of their cells shows which is meant."
        for part, rows in made.items()
        for name, shown in rows.misread.items()
    ]
    return (*unread, *misread)


class _Filling:
    """Fills the matrices of one part."""

    def __init__(
        self,
        name: str,
        part: Source,
        preprocessor: Preprocessor,
        make: Make,
        known: dict[str, Known],
    ) -> None:
        self._known, self._unseen = known, Unseen(len(part))
        self._name, self.part, self._preprocessor = name, part, preprocessor
        n, schema = len(part), preprocessor.schema
        self._x_num = make(name, "x_num", (n, len(schema.numeric)), np.float32)
        self._x_cat = make(name, "x_cat", (n, len(schema.categorical)), np.int64)
        self._hashes = RowHashes(n, len(preprocessor.columns))
        self._telling: set[str] = set()
        self._unreadable: dict[str, Counted] = {}
        self._misread: dict[str, float] = {}
        self._missing: dict[str, int] = {}

    def add(self, frame: pd.DataFrame, group: Sequence[str]) -> None:
        """Adds the next columns of all rows."""
        numbers, codes, some = self._preprocessor.of_columns(group)
        if self._name not in ("train", "val"):  # from files of their own
            check_kinds(frame, some, self.part.name)
        x_num, x_cat, missing = some.transform_and_count(frame, source=self.part.name)
        self._missing |= {name: cells for name, cells in missing.items() if cells}
        self._x_num[:, numbers] = x_num
        self._x_cat[:, codes] = x_cat
        for name in group:
            self._hashes.add(frame[name])
        if self._name == "train":
            self._known |= some.known(frame)
            self._telling |= telling_features(some.schema, x_num, x_cat, self.part.y)
        else:
            known = {name: self._known[name] for name in group if name in self._known}
            self._unseen.add(some, frame, known)
            self._unreadable |= some.unreadable(frame)
            self._misread |= some.misread(frame)

    def done(self) -> Matrices:
        telling = frozenset(self._telling)
        return Matrices(
            self._x_num,
            self._x_cat,
            self._hashes.done(),
            telling,
            self._unreadable,
            self._misread,
            self._missing,
            self._unseen,
        )
