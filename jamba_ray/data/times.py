"""Reads a timestamp column as instants, whatever its type."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd
from pandas.api import types

from jamba_ray.data.cells import Distinct, as_text, is_text
from jamba_ray.data.number_format import PLAIN, recognise
from jamba_ray.data.time_text import read_as, read_times
from jamba_ray.errors import DataError

TimeValues: TypeAlias = npt.NDArray[Any]
"""[N], datetime64 in UTC or, where a number's unit is not known, numbers; later is larger."""

_UNITS = {
    "days since 1899 (Excel)": (32_874.0, 73_051.0),
    "seconds": (6.3e8, 4.1e9),
    "milliseconds": (6.3e11, 4.1e12),
    "microseconds": (6.3e14, 4.1e15),
    "nanoseconds": (6.3e17, 4.1e18),
}
"""Where numbers lie that are times from 1990 to 2100 in a unit."""
_NUMBERS = "numbers, the larger the later"
_NANOSECONDS = {"seconds": 10**9, "milliseconds": 10**6, "microseconds": 10**3, "nanoseconds": 1}

_SINCE_S, _UNTIL_S = 946_684_800, 2_208_988_800
"""The years 2000 and 2040; addresses such as 192.168.0.1, written as one number, lie beyond."""
_ENOUGH = 100
"""Rows among which so narrow a range is no chance."""


@dataclass(frozen=True)
class Times:
    """Holds the times of all rows of a table."""

    values: TimeValues
    how: str = ""
    """How they were read, in words, where there was a choice."""
    order: str = ""
    """Of day, month and year; see ``TextTimes``."""


def read_column(column: pd.Series[Any], source: str, form: str | None, order: str = "") -> Times:
    """Reads the times of a column: datetimes, dates, epochs of one unit, or text of one format.

    ``form`` is the format (of strptime) that a user gave, ``order`` the one of day, month and year
    that was decided on other rows. Raises DataError, naming ``source``, where a cell is missing or
    is no time, or where the order of two rows is not known.
    """
    where = f"{str(column.name)!r} of {source}"
    if types.is_datetime64_any_dtype(column.dtype):
        times = Times(_instants(column, form, where))
    elif types.is_numeric_dtype(column.dtype) and not types.is_bool_dtype(column.dtype):
        times = _of_numbers(column, form, where)
    elif is_text(column):
        times = _of_texts(Distinct.of(column), form, order, where)
    else:
        raise DataError(
            f"the times of {where} must be times, numbers or text, but are {column.dtype}; name "
            "another column in data.timestamp."
        )
    _check_complete(column, times, source)
    return times


def span_note(name: str, how: str, parts: Mapping[str, TimeValues | None]) -> str:
    """Says from when to when each part's rows are."""
    spans = [
        f"{part} {' to '.join(found)}" if (found := span(times)) else f"{part} unknown"
        for part, times in parts.items()
    ]
    return f"Rows follow {name!r}{f' ({how})' if how else ''}: {', '.join(spans)}."


def span(times: TimeValues | None) -> tuple[str, str] | None:
    """Returns the first and the last time, in words; None where they are not known."""
    if times is None or not len(times):
        return None
    return _shown(times.min()), _shown(times.max())


def _shown(value: Any) -> str:
    if not isinstance(value, np.datetime64):
        return f"{value:.15g}"
    text = str(value.astype("M8[s]")).replace("T", " ")
    return text.removesuffix(" 00:00:00")


def _check_complete(column: pd.Series[Any], times: Times, source: str) -> None:
    """Checks that each row has a time.

    Raises:
        DataError: One has none.
    """
    values = times.values
    lacking = np.isnat(values) if values.dtype.kind == "M" else np.isnan(values)
    if not lacking.any():
        return
    cells = column[lacking].dropna()
    how = f"{times.how}; " if times.how else ""
    shown = f" ({how}such as {as_text(cells.iloc[0])[:40]!r})" if len(cells) else ""
    raise DataError(
        f"a split by time needs a time in every row, but {int(lacking.sum())} of {len(column)} "
        f"rows of {source} have none in {str(column.name)!r}{shown}; correct or remove them"
        f"{', or set data.timestamp_format' if shown else ''}."
    )


def _instants(column: pd.Series[Any], form: str | None, where: str) -> TimeValues:
    letters = [letter for letter in form or "" if letter in "dm"]
    if form is not None and letters[:1] == ["d"]:
        raise DataError(
            f"data.timestamp_format must fit {where}, but its cells are read as times already, the "
            f"month before the day, and {form!r} has the day first; remove it."
        )
    return pd.to_datetime(column, utc=True).dt.tz_localize(None).to_numpy().astype("M8[ns]")


# --- numbers ----------------------------------------------------------------------------------


def _of_numbers(column: pd.Series[Any], form: str | None, where: str) -> Times:
    if form is not None:
        width = len(str(int(column.max(skipna=True))))
        texts = [None if pd.isna(x) else f"{int(x):0{width}d}" for x in column]
        return Times(read_as([text or "" for text in texts], form), f"read as {form}")
    exact = types.is_integer_dtype(column.dtype) and not column.isna().any()
    kind = np.uint64 if types.is_unsigned_integer_dtype(column.dtype) else np.int64
    values: TimeValues = (
        column.to_numpy(dtype=kind) if exact else column.to_numpy(dtype=np.float64, na_value=np.nan)
    )
    return Times(*_of_one_unit(values, where))


def _of_one_unit(values: TimeValues, where: str) -> tuple[TimeValues, str]:
    """Returns instants where the unit is known, else ``values``; and how they were read.

    Raises DataError where two units are mixed, or where the day is written before the year.
    """
    found = {unit: (values >= low) & (values <= high) for unit, (low, high) in _UNITS.items()}
    held = {unit: rows for unit, rows in found.items() if rows.any()}
    _check_digits(values, where)
    if not held:
        return values, _NUMBERS
    low, high = min(_UNITS[unit][0] for unit in held), max(_UNITS[unit][1] for unit in held)
    if ((values >= low) & (values <= high) & ~np.logical_or.reduce([*held.values()])).any():
        return values, _NUMBERS  # a counter that passes through
    if len(held) > 1:
        listed = [
            f"{int(rows.sum()):,} {unit} (such as {_shown(values[rows][0])})"
            for unit, rows in held.items()
        ]
        raise DataError(
            f"the times of {where} must have one unit, but look like {' and '.join(listed)}; "
            "convert them to one."
        )
    (unit,) = held
    if unit not in _NANOSECONDS or ((values < 0) | (values > high)).any():
        return values, _NUMBERS
    return _since_1970(values, _NANOSECONDS[unit]), f"{unit} since 1970"


def _since_1970(values: TimeValues, nanoseconds: int) -> TimeValues:
    if values.dtype.kind in "iu":
        return (values.astype(np.int64) * nanoseconds).astype("M8[ns]")
    missing = np.isnan(values)
    whole = np.round(np.where(missing, 0.0, values) * nanoseconds).astype(np.int64)
    instants: TimeValues = whole.astype("M8[ns]")
    instants[missing] = np.datetime64("NaT")
    return instants


def _check_digits(values: TimeValues, where: str) -> None:
    """Checks that dates written as one number begin with the year.

    Raises:
        DataError: They do not.
    """
    known = values[~np.isnan(values)] if values.dtype.kind == "f" else values
    if not len(known) or (known < 1_001_990).any() or (known % 1 != 0).any():
        return
    for dates in (known, known // 1_000_000):
        last, middle, first = dates % 10_000, dates // 10_000 % 100, dates // 1_000_000
        days = (last >= 1990) & (last <= 2100) & (first >= 1) & (middle >= 1)
        if (days & (np.maximum(first, middle) <= 31) & (np.minimum(first, middle) <= 12)).all():
            raise DataError(
                f"the times of {where} look like dates whose year comes last (such as "
                f"{int(known[0])}), so numbers do not put them in order; set "
                "data.timestamp_format, for example to '%d%m%Y' or '%m%d%Y'."
            )


def epoch_units(column: pd.Series[Any]) -> list[str]:
    """Returns the units in which all numbers of a column are times from 2000 to 2040; none where
    that may be chance."""
    values = column.dropna().to_numpy()
    if len(values) < _ENOUGH or values.dtype.kind not in "iuf":
        return []
    at = {name: values * (factor / 1e9) for name, factor in _NANOSECONDS.items()}
    found = {name: (x >= _SINCE_S) & (x <= _UNTIL_S) for name, x in at.items()}
    held = [name for name, rows in found.items() if rows.any()]
    return held if np.logical_or.reduce([*found.values()]).all() else []


# --- text -------------------------------------------------------------------------------------


def _of_texts(distinct: Distinct, form: str | None, order: str, where: str) -> Times:
    texts = [as_text(value) for value in distinct.values]
    if form is not None:
        return Times(read_as(texts, form)[distinct.codes], f"read as {form}")
    numbers = distinct.numbers(PLAIN)
    found = recognise(texts, distinct.counts.tolist(), numbers)
    numbers = distinct.numbers(found.format)
    if 2 * distinct.counts[~np.isnan(numbers)].sum() > distinct.present:
        return Times(*_of_one_unit(distinct.cells(numbers), where))
    read = read_times(texts, distinct.counts, where, order)
    # The last entry is what -1 (missing) picks.
    instants = np.append(read.instants, np.datetime64("NaT"))
    return Times(instants[distinct.codes], read.how, read.order)
