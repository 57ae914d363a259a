"""Finds features that decide the label alone: they were probably made from it."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import numpy.typing as npt

from jamba_ray.data.prepared import FeatureSchema

_FEW_VALUES = 100
_MIN_ROWS = 100


def telling_features(
    schema: FeatureSchema,
    x_num: npt.NDArray[np.float32],
    x_cat: npt.NDArray[np.int64],
    y: npt.NDArray[np.float32],
) -> frozenset[str]:
    """Finds the features that alone tell the label of every training row: x_num [N, F_n], x_cat [N,
    F_c].

    So it is where a threshold parts the classes, or each of at most 100 values has one label.
    """
    if len(y) < _MIN_ROWS:  # among few rows this happens by chance
        return frozenset()
    features = [*zip(schema.numeric, x_num.T, strict=True)]
    features += [*zip(schema.categorical, x_cat.T, strict=True)]
    return frozenset(name for name, values in features if _tells(values, y))


def leak_notes(schema: FeatureSchema, telling: Collection[str], n_rows: int) -> tuple[str, ...]:
    """Returns a sentence for each feature that alone tells the label of all ``n_rows`` training
    rows."""
    return tuple(
        f"Feature {name!r} alone tells the label of all {n_rows:,} training rows; if it was "
        "made from the label, name it in data.drop."
        for name in (*schema.numeric, *schema.categorical)
        if name in telling
    )


def _tells(values: npt.NDArray[Any], y: npt.NDArray[np.float32]) -> bool:
    threats, benign = values[y == 1], values[y == 0]
    if threats.min() > benign.max() or benign.min() > threats.max():
        return True
    # The first rows nearly always settle it; only then is a whole column looked at.
    for rows in (slice(0, 1000), slice(None)):
        distinct = np.unique(values[rows])
        if len(distinct) > _FEW_VALUES:
            return False
        at = np.searchsorted(distinct, values[rows])
        share = np.bincount(at, y[rows], len(distinct)) / np.bincount(at, minlength=len(distinct))
        if ((share > 0) & (share < 1)).any():
            return False
    return True
