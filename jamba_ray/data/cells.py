"""Reads one column of a user's table as numbers or as category names, whatever its type."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from pandas.api import types

from jamba_ray.data.number_format import PLAIN, NumberFormat, is_unset
from jamba_ray.errors import DataError

EXACT_INTEGERS = 2**53
"""Above this, neighbouring integers are one float64."""


def to_numbers(column: pd.Series[Any], form: NumberFormat = PLAIN) -> npt.NDArray[np.float64]:
    """Returns the cells as [N] float64; missing cells and cells that are no number become NaN,
    infinities stay.

    Text is parsed (``" 1.5 "``, ``"1e3"``, ``"inf"``) as ``form`` says, booleans are 0 and 1, times
    are no numbers.
    """
    if isinstance(column.dtype, pd.CategoricalDtype):
        # The unused last entry is what code -1 (missing) picks.
        parsed = np.append(to_numbers(pd.Series(column.cat.categories), form), np.nan)
        picked: npt.NDArray[np.float64] = parsed[column.cat.codes.to_numpy()]
        return picked
    if types.is_datetime64_any_dtype(column.dtype) or types.is_complex_dtype(column.dtype):
        return np.full(len(column), np.nan)
    if types.is_timedelta64_dtype(column.dtype):
        column = column.dt.total_seconds()
    elif types.is_bool_dtype(column.dtype) or types.is_numeric_dtype(column.dtype):
        return column.to_numpy(dtype=np.float64, na_value=np.nan)
    else:
        distinct = Distinct.of(column)
        return distinct.cells(distinct.numbers(form))
    return column.to_numpy(dtype=np.float64, na_value=np.nan)


def to_names(column: pd.Series[Any]) -> tuple[npt.NDArray[np.int64], list[str]]:
    """Returns codes [N] into a list of distinct category names; -1 where the cell is missing or
    blank.

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


def is_text(column: pd.Series[Any]) -> bool:
    """Says whether cells may be text, from the column's type alone."""
    kind = column.dtype
    if isinstance(kind, pd.CategoricalDtype):
        kind = kind.categories.dtype
    return types.is_object_dtype(kind) or types.is_string_dtype(kind)


@dataclass(frozen=True)
class Counted:
    """Counts some cells of a column and keeps one of them."""

    cells: int
    distinct: int
    shown: str
    """The most frequent of them, as text."""


@dataclass(frozen=True, eq=False)
class Distinct:
    """Holds the D distinct values of a column of N cells."""

    codes: npt.NDArray[np.int64]
    """[N], -1 where the cell is missing."""
    values: list[Any]
    counts: npt.NDArray[np.int64]
    """[D], the cells that hold each."""

    @classmethod
    def of(cls, column: pd.Series[Any]) -> Distinct:
        """Finds the distinct values of a column, in the order of the table."""
        codes, values = _distinct(column)
        return cls(codes, values, np.bincount(codes[codes >= 0], minlength=len(values)))

    @property
    def present(self) -> int:
        """Returns the number of cells that are not missing."""
        return int(self.counts.sum())

    def numbers(self, form: NumberFormat) -> npt.NDArray[np.float64]:
        """Returns the values as numbers [D], NaN where one is no number."""
        return np.array([_number(value, form) for value in self.values], dtype=np.float64)

    def cells(self, numbers: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Takes numbers of the values [D] to the cells [N]."""
        # The last entry is what -1 (missing) picks.
        return np.append(numbers, np.nan)[self.codes]

    def unset(self, numbers: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
        """Says [D] which values that are no number are text for "no value"."""
        found = np.zeros(len(self.values), dtype=bool)
        for i in np.flatnonzero(np.isnan(numbers)):
            found[i] = is_unset(as_text(self.values[i]))
        return found

    def counted(self, chosen: npt.NDArray[np.bool_]) -> Counted:
        """Counts the cells that hold the values of ``chosen`` [D]."""
        if not chosen.any():
            return Counted(0, 0, "")
        shown = as_text(self.values[int(np.argmax(np.where(chosen, self.counts, -1)))])
        return Counted(int(self.counts[chosen].sum()), int(chosen.sum()), shown.strip()[:40])


def as_text(value: Any) -> str:
    """Returns a cell as text, bytes decoded."""
    return value.decode("utf-8", errors="replace") if isinstance(value, bytes) else str(value)


def unreadable(column: pd.Series[Any], form: NumberFormat) -> Counted:
    """Counts the text cells that are set but are no number in the format ``form``."""
    if not is_text(column):
        return Counted(0, 0, "")
    distinct = Distinct.of(column)
    numbers = distinct.numbers(form)
    return distinct.counted(np.isnan(numbers) & ~distinct.unset(numbers))


def _number(value: Any, form: NumberFormat = PLAIN) -> float:
    if isinstance(value, str | bytes):
        return form.number(as_text(value))
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
