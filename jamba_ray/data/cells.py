"""One column of a user's table as numbers or as category names, whatever type it arrived in."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from pandas.api import types

from jamba_ray.errors import DataError

EXACT_INTEGERS = 2**53
"""Above this, neighbouring integers are one float64."""


def to_numbers(column: pd.Series[Any]) -> npt.NDArray[np.float64]:
    """[N] float64; missing cells and cells that are no number become NaN; infinities stay.

    Text is parsed (``" 1.5 "``, ``"1e3"``, ``"inf"``), booleans are 0 and 1, times are no numbers.
    """
    if isinstance(column.dtype, pd.CategoricalDtype):
        # The unused last entry is what code -1 (missing) picks.
        parsed = np.append(to_numbers(pd.Series(column.cat.categories)), np.nan)
        picked: npt.NDArray[np.float64] = parsed[column.cat.codes.to_numpy()]
        return picked
    if types.is_datetime64_any_dtype(column.dtype) or types.is_complex_dtype(column.dtype):
        return np.full(len(column), np.nan)
    if types.is_timedelta64_dtype(column.dtype):
        column = column.dt.total_seconds()
    elif types.is_bool_dtype(column.dtype) or types.is_numeric_dtype(column.dtype):
        return column.to_numpy(dtype=np.float64, na_value=np.nan)
    else:
        codes, values = _distinct(column)
        parsed = np.append(np.array([_number(value) for value in values], dtype=np.float64), np.nan)
        return parsed[codes]
    return column.to_numpy(dtype=np.float64, na_value=np.nan)


def to_names(column: pd.Series[Any]) -> tuple[npt.NDArray[np.int64], list[str]]:
    """Codes [N] into a list of distinct category names; -1 where the cell is missing or blank.

    A category has one name in every type: ``80``, ``80.0`` and ``"80"`` are ``"80"``; ``True`` and
    ``"true"`` are ``"true"``; outer spaces do not count.
    """
    codes, values = _distinct(column)
    positions: dict[str, int] = {}
    of_value = np.full(len(values) + 1, -1, dtype=np.int64)
    for i, value in enumerate(values):
        name = _name(value)
        if name:
            of_value[i] = positions.setdefault(name, len(positions))
    return of_value[codes], list(positions)


def _distinct(column: pd.Series[Any]) -> tuple[npt.NDArray[np.int64], list[Any]]:
    try:
        codes, values = pd.factorize(column, use_na_sentinel=True)
    except TypeError as error:
        raise DataError(
            f"column {str(column.name)!r} must hold plain values, but holds lists or mappings; "
            "spread them over columns of their own or name it in data.drop."
        ) from error
    return codes.astype(np.int64), list(values)


def _number(value: Any) -> float:
    if isinstance(value, str) and "_" in value:
        return float("nan")  # Python reads "1_0" as 10, no data file does
    try:
        return float(value)
    except (TypeError, ValueError):
        return float("nan")
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")


def _name(value: Any) -> str:
    if isinstance(value, bool | np.bool_):
        return str(value).lower()
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace").strip()
    text = str(value).strip()
    return text.lower() if text in {"True", "False"} else text
