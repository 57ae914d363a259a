"""Recognises columns that number the rows: an index or a counter says where a row stands, not what
it is."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from pandas.api import types

FEWEST_ROWS = 100
"""Among fewer, numbers may rise from row to row by chance."""
_NAMES = frozenset(
    ("", "#", "id", "idx", "index", "no", "nr", "num", "number", "row", "rowid", "rownum", "serial")
)
"""Names of a column that numbers rows, in small letters without the signs between them."""
_NEARLY_ALL = 0.99
"""Share of the rows with a value of their own in a column of identifiers."""
_WIDTH = 3
"""Different whole numbers, one in each row, from a range at most so many times the rows: by chance
some of them would come twice."""


def numbers_rows(column: pd.Series[Any], name: str) -> str:
    """Says how a column numbers the rows, to follow its name; an empty text where it does not.

    So it is where whole numbers rise or fall from each row to the next, where each of a close range
    comes once (an index of rows that were shuffled), or where of a column called ``id`` or
    ``index`` most do (an index of rows of which some were repeated), or it counts up and begins
    anew (files that were joined).
    """
    if types.is_bool_dtype(column.dtype) or not types.is_numeric_dtype(column.dtype):
        return ""
    values = _whole(column)
    if values is None or len(values) < FEWEST_ROWS:
        return ""
    rising = values[1:] > values[:-1]
    if rising.all():
        return "rises from row to row"
    if (values[1:] < values[:-1]).all():
        return "falls from row to row"
    if int(values.max()) - int(values.min()) < _WIDTH * len(values):
        distinct = len(np.unique(values))
        if distinct == len(values):
            return "has another number in every row, without gaps to speak of"
        plain = "".join(sign for sign in name.lower() if sign.isalnum() or sign == "#")
        if plain.removeprefix("unnamed").rstrip("0123456789") not in _NAMES:
            return ""
        if 2 * distinct > len(values):
            return "has another number in most rows, without gaps to speak of"
        begins = int((~rising).sum()) + 1
        if begins * FEWEST_ROWS <= len(values):
            return f"counts up and begins anew {begins - 1:,} times"
    return ""


def is_identifier(values: npt.NDArray[Any]) -> bool:
    """Says whether integers [N] are drawn evenly from a wide range, as random identifiers are.

    Evenly: the largest distance from the even distribution is one that chance exceeds in one of a
    thousand draws (Kolmogorov and Smirnov).
    """
    n = len(values)
    if n < FEWEST_ROWS:
        return False
    ordered = np.sort(values)
    if 1 + np.count_nonzero(ordered[1:] != ordered[:-1]) < _NEARLY_ALL * n:
        return False
    low, high = float(ordered[0]), float(ordered[-1])
    even = (ordered.astype(np.float64) - low) / max(high - low, 1.0)
    steps = np.arange(1, n + 1) / n
    return bool(np.max(np.abs(steps - even)) <= 1.95 / np.sqrt(n))


def _whole(column: pd.Series[Any]) -> npt.NDArray[Any] | None:
    """Returns the cells that are set as whole numbers; None where some is none, or too large."""
    present = column.dropna()
    if types.is_integer_dtype(present.dtype):
        return present.to_numpy()
    if not types.is_float_dtype(present.dtype):
        return None
    values = present.to_numpy(dtype=np.float64)
    # The first rows nearly always settle it; only then is a whole column looked at.
    for some in (values[:1000], values):
        if not (np.isfinite(some) & (some == np.floor(some)) & (np.abs(some) <= 2.0**53)).all():
            return None
    return values.astype(np.int64)
