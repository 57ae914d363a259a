"""Reads the numbers in times written as text, field by field, before their order is known."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

CLOCK = (
    r"(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?:[.,:](?P<part>\d{1,9})\d*)?)?"
    r"(?:\s*(?P<half>[ap])\.?m\.?)?"
)
ZONE = (
    r"(?P<zone>z|(?:utc|gmt)?\s?[-+]\d{2}:?(?:\d{2})?|[a-z]{3,4})?(?:\s*\([a-z ]+\)|\[[a-z/_]+\])?"
)
_DAY, _MONTH, _YEAR = (
    r"(?P<day>\d{1,2})(?:st|nd|rd|th)?",
    r"(?P<word>[a-z]{3,9})\.?",
    r"(?P<year>\d{4})",
)
BETWEEN = r"(?:[-t:,_ ]\s*)"
_DATES = (
    r"(?P<a>\d{1,4})(?P<sign>[-/. ])(?P<b>\d{1,2})(?P=sign)(?P<c>\d{1,4})",
    rf"{_DAY}[-/. ]?{_MONTH}[-/., ]*(?P<year>\d{{4}}|\d{{2}})",
    rf"{_MONTH}[-/ ]{_DAY},?[-/ ]{_YEAR}",
    rf"{_YEAR}[-/ ]?{_MONTH}[-/ ]?{_DAY}",
    r"(?P<year>\d{4})-?w(?P<week>\d{2})(?:-?(?P<weekday>[1-7]))?",
    r"(?P<year>\d{4})-(?P<ordinal>\d{3})",
)
FLAGS = re.IGNORECASE | re.ASCII
_PATTERNS = tuple(
    re.compile(text, FLAGS)
    for text in (
        *(rf"{date}(?:{BETWEEN}{CLOCK}\s*{ZONE})?" for date in _DATES),
        # 20180214T103000Z, and what date(1) and ctime write, with the year at the end
        r"(?P<a>\d{4})(?P<b>\d{2})(?P<c>\d{2})(?:[t ](?P<hour>\d{2}):?(?P<minute>\d{2})"
        rf"(?::?(?P<second>\d{{2}})(?:[.,](?P<part>\d{{1,9}})\d*)?)?\s*{ZONE})?",
        rf"{_MONTH} {_DAY} {CLOCK}\s*{ZONE}\s+{_YEAR}",
    )
)
_WEEKDAY = re.compile(r"(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*,?\s+", re.IGNORECASE)
_MONTHS = {
    name: i + 1
    for i, name in enumerate("jan feb mar apr may jun jul aug sep oct nov dec".split())  # noqa: SIM905
}
_ZONES = {
    "z": 0, "utc": 0, "gmt": 0, "est": -300, "edt": -240, "cst": -360, "cdt": -300, "mst": -420,
    "mdt": -360, "pst": -480, "pdt": -420, "wet": 0, "cet": 60, "cest": 120,
    "eet": 120, "eest": 180, "jst": 540,
}  # fmt: skip
"""Minutes east of UTC, as RFC 2822 and Europe use the names."""
NUMERIC = [i for i, p in enumerate(_PATTERNS) if "a" in p.groupindex]
_NAMES = ("a", "b", "c", "day", "month", "year", "week", "weekday", "ordinal", "hour", "minute",
          "second", "nanosecond", "offset", "digits_a", "digits_c", "half")  # fmt: skip


@dataclass
class TimeFields:
    """Holds the numbers of all texts, field by field: [D] each; -1 where there is none."""

    kind: npt.NDArray[np.int64]
    """Which pattern fits; -1: none."""
    fields: dict[str, npt.NDArray[np.int64]]
    zoned: npt.NDArray[np.bool_]


def looks_like_time(text: str) -> bool:
    """Says whether a text is a date with a time of day or a year of four digits."""
    found = match(text)
    if found is None or _numbers(found) is None:
        return False
    fields = found.groupdict()
    if fields["hour"] is not None or "a" not in fields:
        return fields["hour"] is not None or "ordinal" not in fields  # 2018-123 may be anything
    # 12345678 is a number, 1.10.0 a version.
    return "sign" in fields and 4 in (len(fields["a"]), len(fields["c"]))


def match(text: str) -> re.Match[str] | None:
    """Returns the match of the pattern that fits a text, with its parts by name."""
    text = " ".join(text.split())
    text = text.strip("[]") if text.startswith("[") else text
    text = _WEEKDAY.sub("", text, count=1) if text[:1].isalpha() else text
    for pattern in _PATTERNS:
        found = pattern.fullmatch(text)
        if found is not None:
            return found
    return None


def fields_of(texts: Sequence[str]) -> TimeFields:
    """Returns the numbers of ``texts`` [D]."""
    kind = np.full(len(texts), -1, dtype=np.int64)
    zoned = np.zeros(len(texts), dtype=bool)
    table = np.full((len(texts), len(_NAMES)), -1, dtype=np.int64)
    number = {pattern: i for i, pattern in enumerate(_PATTERNS)}
    for i, text in enumerate(texts):
        found = match(text)
        values = None if found is None else _numbers(found)
        if found is not None and values is not None:
            kind[i] = number[found.re]
            zoned[i] = bool(found["zone"])
            table[i] = [values.get(name, -1) for name in _NAMES]
    return TimeFields(kind, dict(zip(_NAMES, table.T, strict=True)), zoned)


def _numbers(found: re.Match[str]) -> dict[str, int] | None:
    """Returns the fields of one text as numbers; None where a month or a zone has no known name."""
    fields = {name: text for name, text in found.groupdict().items() if text is not None}
    words = {name: fields.pop(name, "") for name in ("word", "zone", "half", "part", "sign")}
    values = {name: int(text) for name, text in fields.items()}
    if "word" in found.re.groupindex:
        month = _MONTHS.get(words["word"][:3].lower())
        if month is None:
            return None
        values["month"] = month
    offset = _offset(words["zone"])
    if offset is None:
        return None
    half = {"": 0, "a": 1, "p": 2}[words["half"].lower()]
    if half and not 1 <= values["hour"] <= 12:
        return None
    if half:
        values["hour"] = values["hour"] % 12 + 12 * (half == 2)
    return values | {
        "offset": offset,
        "half": half,
        "nanosecond": int(words["part"].ljust(9, "0")) if words["part"] else 0,
        "digits_a": len(fields.get("a", "")),
        "digits_c": len(fields.get("c", "")),
    }


def _offset(zone: str) -> int | None:
    """Returns minutes east of UTC; 0 for no zone, None for a name that is not known."""
    zone = zone.lower().replace(" ", "")
    if zone.lstrip("utcgm")[:1] in ("+", "-"):
        zone = zone.lstrip("utcgm")
        digits = zone[1:].replace(":", "").ljust(4, "0")
        return (60 * int(digits[:2]) + int(digits[2:])) * (-1 if zone[0] == "-" else 1)
    return _ZONES.get(zone or "z")
