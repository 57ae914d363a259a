"""Reads times written as text: one order of day, month and year for a column, decided from all
cells.

Letters: D distinct texts.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from jamba_ray.data.time_fields import (
    BETWEEN,
    CLOCK,
    FLAGS,
    NUMERIC,
    ZONE,
    TimeFields,
    fields_of,
    match,
)
from jamba_ray.errors import DataError

Instants = npt.NDArray[np.datetime64]
"""In nanoseconds, UTC; NaT for what is no time."""

_NO_YEAR = re.compile(
    rf"(?:[a-z]{{3,9}} \d{{1,2}}|\d{{1,2}}[- /](?:[a-z]{{3}}|\d\d?)){BETWEEN}{CLOCK}.*",
    FLAGS,
)
_NO_DATE = re.compile(CLOCK + r"\s*" + ZONE, FLAGS)
_ENDS_WITH_ZONE = re.compile(r"(?:[zZ]|[-+]\d\d:?(?:\d\d)?)$")
_NO_ZONE = ("those without a zone taken as UTC",)
_ORDERS = {
    "ymd": "year-month-day",
    "ydm": "year-day-month",
    "dmy": "day/month/year",
    "mdy": "month/day/year",
}


@dataclass(frozen=True)
class TextTimes:
    """Holds what a column of texts was read as."""

    instants: Instants
    """[D]."""
    order: str = ""
    """Of day, month and year, where these are numbers: ``ymd``, ``ydm``, ``dmy`` or ``mdy``."""
    remarks: tuple[str, ...] = ()
    """Clauses on what was taken for granted."""

    @property
    def how(self) -> str:
        """Says how the texts were read, in words."""
        return ", ".join(
            (*((f"read as {_ORDERS[self.order]}",) if self.order else ()), *self.remarks)
        )


def read_times(
    texts: Sequence[str], counts: npt.NDArray[np.int64], where: str, order: str = ""
) -> TextTimes:
    """Reads the instants of distinct ``texts``, each in ``counts`` [D] cells of ``where``.

    ``order`` is one decided before (on other rows of the same column). Raises DataError where
    nothing shows which number is the day and it matters, where years are lacking, or dates.
    """
    iso = _iso(texts)
    if iso is not None and order in ("", "ymd"):
        zoned = [_ENDS_WITH_ZONE.search(text, 10) is not None for text in texts]
        return TextTimes(iso, "ymd", _NO_ZONE if any(zoned) and not all(zoned) else ())
    cells = fields_of(texts)
    _check_dates(texts, counts, cells, where)
    numeric = np.isin(cells.kind, NUMERIC)
    rivals = _orders(cells, numeric, counts) if not order and numeric.any() else [order]
    readings = {o: _instants(cells, numeric, o) for o in rivals}
    first = rivals[0]
    for other in rivals[1:]:
        _check_same(texts, readings[first], readings[other], where, (first, other))
    used = first if numeric.any() else ""
    return TextTimes(readings[first], used, _remarks(cells, readings[first]))


def read_as(texts: Sequence[str], form: str) -> Instants:
    """Reads the instants of texts in the format ``form`` of strptime; NaT where one is not in it.

    Raises DataError for a format that strptime does not know.
    """
    try:
        read = pd.to_datetime(
            pd.Series(texts, dtype=object).str.strip(), format=form, errors="coerce", utc=True
        )
    except ValueError as error:
        raise DataError(
            f"data.timestamp_format must be a format of strptime, but {form!r} is not ({error})."
        ) from error
    return read.dt.tz_localize(None).to_numpy().astype("M8[ns]")


def format_of(text: str, order: str) -> str:
    """Returns the strptime format of one text, its day, month and year in ``order``."""
    found = match(text)
    if found is None or "sign" not in found.re.groupindex:
        return "%d/%m/%Y %H:%M:%S"
    fields, text = found.groupdict(), found.string
    year = "%Y" if len(fields["a" if order.startswith("y") else "c"]) == 4 else "%y"
    letters = {"y": year, "m": "%m", "d": "%d"}
    form = fields["sign"].join(letters[letter] for letter in order)
    if fields["hour"] is None:
        return form
    form += text[found.end("c") : found.start("hour")]
    form += "%I:%M" if fields["half"] else "%H:%M"
    form += ":%S" if fields["second"] else ""
    form += f"{text[found.end('second')]}%f" if fields["part"] else ""
    gap = " " if " " in text[found.end("minute") :] else ""
    form += f"{gap}%p" if fields["half"] else ""
    return form + (f"{gap}%z" if fields["zone"] else "")


def _iso(texts: Sequence[str]) -> Instants | None:
    """Returns the instants where all texts are ISO 8601 with a four-digit year first; else None."""
    if not all(t[:4].isdigit() and t[4:5] in ("-", "/") for t in texts):
        return None
    read = pd.to_datetime(
        pd.Series(texts, dtype=object), format="ISO8601", errors="coerce", utc=True
    )
    return None if read.isna().any() else read.dt.tz_localize(None).to_numpy().astype("M8[ns]")


def _check_dates(
    texts: Sequence[str], counts: npt.NDArray[np.int64], cells: TimeFields, where: str
) -> None:
    """Checks that most cells are dates with a year.

    Raises:
        DataError: Most have no year, or no date at all.
    """
    unknown = np.flatnonzero(cells.kind < 0)
    for pattern, sentence in (
        (
            _NO_YEAR,
            "must have a year, or December and January have no order, but {n} rows have none "
            "(such as {shown!r}); add it, or, if all rows are of one year, set "
            "data.timestamp_format, for example to '%b %d %H:%M:%S'",
        ),
        (
            _NO_DATE,
            "must have a date, but {n} rows hold a time of day alone (such as {shown!r}); name "
            "another column in data.timestamp or join the two",
        ),
    ):
        lacking = [i for i in unknown.tolist() if pattern.fullmatch(" ".join(texts[i].split()))]
        n = int(counts[lacking].sum()) if lacking else 0
        if 2 * n > counts.sum():
            more = sentence.format(n=f"{n:,}", shown=texts[lacking[0]][:40])
            raise DataError(f"the times of {where} {more}.")


def _orders(
    cells: TimeFields, numeric: npt.NDArray[np.bool_], counts: npt.NDArray[np.int64]
) -> list[str]:
    """Finds the orders of day, month and year that fit the most cells; several: nothing tells
    which."""
    fitting = {
        order: int(counts[numeric & ~np.isnat(_instants(cells, numeric, order))].sum())
        for order in _ORDERS
    }
    most = max(fitting.values())
    rivals = [order for order, cells_of in fitting.items() if cells_of == most]
    if "ymd" in rivals:
        fields = cells.fields
        if (fields["digits_a"][numeric] == 4).any():
            return ["ymd"]  # nobody is known to write year-day-month where the other fits
        first, last = (len(np.unique(fields[name][numeric])) for name in ("a", "c"))
        if last < first:
            rivals.remove("ymd")  # the year is what changes least
        rivals = [order for order in rivals if order != "ydm"] or rivals
    return rivals


def _instants(cells: TimeFields, numeric: npt.NDArray[np.bool_], order: str) -> Instants:
    fields = cells.fields
    year, month, day = (fields[name].copy() for name in ("year", "month", "day"))
    digits = np.where(year >= 100, 4, 2)
    if order:
        for name, position in zip("abc", order, strict=True):
            target = {"y": year, "m": month, "d": day}[position]
            target[numeric] = fields[name][numeric]
        of_year = fields["digits_a" if order[0] == "y" else "digits_c"]
        of_other = fields["digits_c" if order[0] == "y" else "digits_a"]
        digits = np.where(numeric, of_year, digits)
        month[numeric & (of_other > 2)] = 0  # a day of four digits
    short = digits == 2
    year = np.where(short, np.where(year < 69, 2000, 1900) + year, year)
    week, ordinal = fields["week"], fields["ordinal"]
    month = np.where((week > 0) | (ordinal > 0), 1, month)
    day = np.where((week > 0) | (ordinal > 0), 1, day)
    valid = (cells.kind >= 0) & np.isin(digits, (2, 4)) & (year >= 1678) & (year <= 2261)
    valid &= (month >= 1) & (month <= 12) & (day >= 1) & (day <= 31)
    valid &= (fields["hour"] <= 24) & (fields["minute"] < 60) & (fields["second"] <= 60)
    valid &= (week != 0) & (week <= 53) & (ordinal != 0) & (ordinal <= 366)
    year, month, day = (np.where(valid, values, 1) for values in (year, month, day))
    months = (year - 1970).astype("M8[Y]").astype("M8[M]") + (month - 1)
    days = months.astype("M8[D]") + (day - 1)
    valid &= days.astype("M8[M]") == months
    # ISO week 1 holds the year's 4th of January; 1970-01-01 was a Thursday.
    fourth = days + 3
    monday = fourth - (fourth.astype(np.int64) + 3) % 7
    weekday = np.where(fields["weekday"] > 0, fields["weekday"], 1)
    days = np.where(week > 0, monday + 7 * (week - 1) + weekday - 1, days)
    days = np.where(ordinal > 0, days + ordinal - 1, days)
    clock = [np.maximum(fields[name], 0) for name in ("hour", "minute", "second", "nanosecond")]
    seconds = 3600 * clock[0] + 60 * (clock[1] - fields["offset"]) + clock[2]
    instants: Instants = days.astype("M8[ns]") + (seconds * 10**9 + clock[3]).astype("m8[ns]")
    instants[~valid] = np.datetime64("NaT")
    return instants


def _check_same(
    texts: Sequence[str], a: Instants, b: Instants, where: str, orders: tuple[str, str]
) -> None:
    """Checks that two readings of the texts are the same.

    Raises:
        DataError: They differ.
    """
    only_a, only_b = ~np.isnat(a) & np.isnat(b), np.isnat(a) & ~np.isnat(b)
    if only_a.any() and only_b.any():
        one, other = (texts[int(np.argmax(some))][:40] for some in (only_a, only_b))
        raise DataError(
            f"the times of {where} must have one order of day, month and year, but {one!r} and "
            f"{other!r} have not; write them alike."
        )
    known = ~np.isnat(a)
    if (a[known] == b[known]).all():
        return
    shown = texts[int(np.argmax(known & (a != b)))][:40]
    forms = [repr(format_of(shown, order)) for order in orders]
    raise DataError(
        f"the times of {where} must show which number is the day, but no cell does (such as "
        f"{shown!r}); set data.timestamp_format, here to {forms[0]} or {forms[1]}."
    )


def _remarks(cells: TimeFields, instants: Instants) -> tuple[str, ...]:
    known = ~np.isnat(instants)
    remarks = [*_NO_ZONE] if cells.zoned[known].any() and not cells.zoned[known].all() else []
    hours = np.unique(cells.fields["hour"][known & (cells.fields["hour"] >= 0)])
    halves = cells.fields["half"][known]
    if len(hours) >= 6 and hours.min() >= 1 and hours.max() == 12 and not halves.any():
        remarks.append("no hour is 0 or above 12, so afternoons may be written as mornings")
    return tuple(remarks)
