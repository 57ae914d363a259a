"""Rows that occur more than once: what they do to a score is worth a sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from jamba_ray.data.splits import Labels

Hashes = npt.NDArray[np.uint64]


def row_hashes(frame: pd.DataFrame, columns: Sequence[str]) -> Hashes:
    """[N] 64-bit hashes of the cells in ``columns``, the same in every process.

    Two different rows of a million share one with probability 3e-8.
    """
    hashes = pd.util.hash_pandas_object(frame[list(columns)], index=False)
    return np.asarray(hashes, dtype=np.uint64)


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
