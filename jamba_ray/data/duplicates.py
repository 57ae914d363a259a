"""Counts rows that occur more than once, or nearly, which change what a score means."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from jamba_ray.data.adversary import Features, mixed
from jamba_ray.data.columns import tells_rows_apart
from jamba_ray.data.raw_table import RawTable
from jamba_ray.data.splits import Hashes, Labels

_CELL = 0.02
"""In standard deviations: what lies in one cell counts as the same."""


class RowHashes:
    """Computes 64-bit hashes [N] of rows, the same in every process, from one column after the
    other.

    Equal to ``pandas.util.hash_pandas_object`` of all columns at once. Two different rows of a
    million share one with probability 3e-8.
    """

    def __init__(self, n_rows: int, n_columns: int) -> None:
        self._hashes = np.full(n_rows, 0x345678, dtype=np.uint64)
        self._factor, self._left = 1_000_003, n_columns

    def add(self, column: pd.Series[Any]) -> None:
        """Adds the next column of all rows."""
        self._hashes ^= np.asarray(pd.util.hash_pandas_object(column, index=False), np.uint64)
        self._hashes *= np.uint64(self._factor)
        self._factor += 82_520 + 2 * self._left
        self._left -= 1

    def done(self) -> Hashes:
        """Returns the hashes, after the last column."""
        return self._hashes + np.uint64(97_531)


def same_rows(
    table: RawTable, *, exclude: Collection[str], named: Collection[str], rare_below: int
) -> Hashes:
    """Computes hashes [N] that are equal for rows with the same features, before any are chosen.

    ``exclude``: columns that are no features; ``named``: columns that a setting makes features.
    Others count where they look like features (``tells_rows_apart``).
    """
    names = [name for name in table.columns if name not in exclude]
    hashes: RowHashes | None = None
    for group in table.groups(names):
        frame = table.read(group)
        hashes = hashes or RowHashes(len(frame), len(names))
        for name in group:
            column = frame[name]
            if name in named or tells_rows_apart(column, str(name), rare_below):
                hashes.add(column)
    return np.zeros(0, np.uint64) if hashes is None else hashes.done()


@dataclass(frozen=True)
class Duplicates:
    """Counts the rows that have the features of another."""

    repeated: int
    """Training rows that repeat the features of another one."""
    both_labels: int
    """Training rows with features that occur with both labels."""
    in_train: Mapping[str, int]
    """By other part, its rows with the features of a training row."""


def count(hashes: Mapping[str, Hashes], targets: Mapping[str, Labels]) -> Duplicates:
    """Counts the repeated rows in ``train``, across parts, and with both labels."""
    train, y = hashes["train"], targets["train"]
    torn = np.intersect1d(train[y == 0], train[y == 1])
    return Duplicates(
        repeated=len(train) - len(np.unique(train)),
        both_labels=int(np.isin(train, torn).sum()),
        in_train={
            name: int(np.isin(others, train).sum())
            for name, others in hashes.items()
            if name != "train"
        },
    )


def notes(found: Duplicates, rows: Mapping[str, int]) -> tuple[str, ...]:
    """Says in sentences what was found; ``rows``: by part."""
    said, n_train = [], rows["train"]
    if found.repeated:
        said.append(
            f"{found.repeated:,} of {n_train:,} training rows repeat the features of another."
        )
    said += [
        f"{seen:,} of {rows[name]:,} {name} rows ({seen / rows[name]:.2%}) have the features of a "
        f"training row; scores there are partly memory{_way_out(name)}."
        for name, seen in found.in_train.items()
        if seen
    ]
    if found.both_labels:
        said.append(
            f"{found.both_labels:,} of {n_train:,} training rows have features that occur with "
            "both labels; no model can get all of them right."
        )
    return tuple(said)


def _way_out(part: str) -> str:
    return " (data.split.repeats=leave_out leaves them out)" if part == "val" else ""


def keys_but_one(x: Features, n_numbers: int) -> list[npt.NDArray[np.uint64]]:
    """Returns by column keys [N] of all other columns' cells; numeric columns come first."""
    cells = x.astype(np.float64)
    cells[:, :n_numbers] = np.floor(cells[:, :n_numbers] / _CELL + 0.5)
    hashed = [
        mixed(np.ascontiguousarray(column).view(np.uint64), j) for j, column in enumerate(cells.T)
    ]
    whole = np.zeros(len(x), dtype=np.uint64)
    for column in hashed:
        whole ^= column
    return [whole ^ column for column in hashed]


def is_near(
    x: Features, known: list[npt.NDArray[np.uint64]], n_numbers: int
) -> npt.NDArray[np.bool_]:
    """Says which rows x [N, F] agree with a known one in all columns but one."""
    near = np.zeros(len(x), dtype=bool)
    for keys, others in zip(keys_but_one(x, n_numbers), known, strict=True):
        near |= np.isin(keys, others)
    return near
