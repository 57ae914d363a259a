"""A timestamp column as positions in time."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from pandas.api import types

from jamba_ray.data.cells import to_numbers
from jamba_ray.errors import DataError


def in_order(column: pd.Series[Any], source: str) -> npt.NDArray[np.int64]:
    """[N] ranks in time: equal for equal instants, larger for later ones.

    Times, numbers (epochs of any unit) and text that pandas can parse are understood. Raises
    DataError, naming ``source``, where a cell is missing or is no time.
    """
    if types.is_numeric_dtype(column.dtype):
        values: npt.NDArray[Any] = to_numbers(column)
        unknown = np.isnan(values)
    else:
        parsed = pd.to_datetime(column.astype(object), errors="coerce", utc=True, format="mixed")
        values, unknown = parsed.to_numpy(), parsed.isna().to_numpy()
    if unknown.any():
        raise DataError(
            f"a split by time needs a time in every row, but {int(unknown.sum())} of {len(column)} "
            f"rows of {source} have none in {str(column.name)!r}; use ISO 8601 times or numbers."
        )
    return np.unique(values, return_inverse=True)[1].astype(np.int64)
