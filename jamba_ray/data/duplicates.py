"""Rows that occur more than once: what they do to a score is worth a sentence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from jamba_ray.data.splits import Labels

Hashes = npt.NDArray[np.uint64]


class RowHashes:
    """64-bit hashes [N] of rows, the same in every process; fed column by column.

    Equal to ``pandas.util.hash_pandas_object`` of all columns at once. Two different rows of a
    million share one with probability 3e-8.
    """

    def __init__(self, n_rows: int, n_columns: int) -> None:
        self._hashes = np.full(n_rows, 0x345678, dtype=np.uint64)
        self._factor, self._left = 1_000_003, n_columns

    def add(self, column: pd.Series[Any]) -> None:
        """The next column of all rows."""
        self._hashes ^= np.asarray(pd.util.hash_pandas_object(column, index=False), np.uint64)
        self._hashes *= np.uint64(self._factor)
        self._factor += 82_520 + 2 * self._left
        self._left -= 1

    def done(self) -> Hashes:
        """The hashes, after the last column."""
        return self._hashes + np.uint64(97_531)


def notes(hashes: Mapping[str, Hashes], targets: Mapping[str, Labels]) -> tuple[str, ...]:
    """Sentences on repeated rows in ``train``, across parts, and with both labels."""
    train, y = hashes["train"], targets["train"]
    found = []
    distinct = len(np.unique(train))
    if distinct < len(train):
        found.append(
            f"{len(train) - distinct:,} of {len(train):,} training rows repeat the features of "
            "another."
        )
    for name, others in hashes.items():
        seen = int(np.isin(others, train).sum()) if name != "train" else 0
        if seen:
            found.append(
                f"{seen:,} of {len(others):,} {name} rows ({seen / len(others):.2%}) have the "
                "features of a training row; scores there are partly memory."
            )
    torn = int(np.isin(train, np.intersect1d(train[y == 0], train[y == 1])).sum())
    if torn:
        found.append(
            f"{torn:,} of {len(train):,} training rows have features that occur with both labels; "
            "no model can get all of them right."
        )
    return tuple(found)
