"""Recognises how the numbers of a text column are written: decimal sign, thousands separator,
units, hex.

Decided from all cells of a column, never from one: ``1,234`` alone is 1234 or 1.234.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

UNSET = frozenset({
    "", "-", "--", "---", "?", ".", "*", "(empty)", "(none)", "(null)", "(unknown)", "<na>",
    "<none>", "<null>", "[null]", "n/a", "#n/a", "n.a.", "na", "nan", "-nan", "null", "nil", "none",
    "unset", "not set", "missing", "not available", "unknown", "undefined", "\\n", "#div/0!",
    "#value!", "#ref!", "#num!", "#name?",
})  # fmt: skip
"""Cells, in lower case, that stand for no value."""

_ODD_SIGNS = str.maketrans("\u2212\u2019\u00a0\u202f\u2009", "-'   ")
"""Typographic minus, apostrophe and spaces as those of a keyboard."""
_ZEROS = str.maketrans("123456789", "000000000")
_TOKEN = re.compile(
    r"([-+]?)(?:0[xX]([0-9a-fA-F]+)"
    r"|((?:\d|[.,](?=\d))[\d.,' _]*+)([eE][-+]?\d{1,3})?\s*([A-Za-z\u00b5\u03bc%][A-Za-z/]*)?)"
)
_FORMS = (
    (".", ""), (".", ","), (".", " "), (".", "'"), (".", "_"), (",", "."), (",", " "), (",", "'"),
)  # fmt: skip
"""Decimal sign and thousands separator; where two read equally many cells, the first."""
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
_BYTES = re.compile(r"([kmgtp]?)(?:(i)?(?:b|bytes?)(?:/s|ps)?)?", re.IGNORECASE)
_BITS = re.compile(r"([kmgtp]?)()(?:bits?(?:/s|ps)?|bps)", re.IGNORECASE)
_SECONDS: dict[str, float] = {
    **dict.fromkeys(("ns",), 1e-9),
    **dict.fromkeys(("us", "\u00b5s", "\u03bcs", "usec"), 1e-6),
    **dict.fromkeys(("ms", "msec"), 1e-3),
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1.0),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), 60.0),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), 3600.0),
    **dict.fromkeys(("d", "day", "days"), 86400.0),
}


def _power(pattern: re.Pattern[str], unit: str) -> float | None:
    found = pattern.fullmatch(unit)
    if found is None:
        return None
    return float((1024 if found[2] else 1000) ** _POWERS[found[1].lower()])


_UNITS: dict[str, Callable[[str], float | None]] = {
    "": lambda unit: None,
    "bytes": lambda unit: _power(_BYTES, unit),
    "bits": lambda unit: _power(_BITS, unit),
    "seconds": lambda unit: _SECONDS.get(unit if len(unit) == 1 else unit.lower()),
    "percent": lambda unit: 1.0 if unit == "%" else None,
}
"""By the name of a family of units, the factor of each of its units."""


@dataclass(frozen=True)
class NumberFormat:
    """Describes how a column's cells are read; ``PLAIN``: as Python's ``float`` reads them."""

    decimal: str = "."
    thousands: str = ""
    units: str = ""
    """A family of ``bytes`` (K, MB, GiB ...; K is 1000, Ki is 1024), ``bits``, ``seconds`` (ms, s,
    min, h, d) or ``percent``; a cell without a unit counts as it stands."""
    hex: bool = False

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> NumberFormat:
        """Makes a format from what ``to_json`` returned.

        Raises:
            ValueError: It is no such format.
        """
        found = cls(value["decimal"], value["thousands"], value["units"], value["hex"])
        forms = (found.decimal, found.thousands)
        if forms not in _FORMS or found.units not in _UNITS or not isinstance(found.hex, bool):
            raise ValueError(f"no number is written as {dict(value)!r}")
        return found

    def to_json(self) -> dict[str, Any]:
        """Returns strict JSON."""
        return {
            "decimal": self.decimal,
            "thousands": self.thousands,
            "units": self.units,
            "hex": self.hex,
        }

    def number(self, text: str) -> float:
        """Returns the number that a cell holds, or NaN."""
        if self is PLAIN:
            return _float(text)
        token = _token(text)
        return _float(text) if token is None else self._value(token)

    def _value(self, token: _Token) -> float:
        if token.hex:
            return token.value_of_hex if self.hex else float("nan")
        factor = _UNITS[self.units](token.unit) if token.unit else 1.0
        if factor is None or not _is_written(token.body, self.decimal, self.thousands):
            return float("nan")
        body = token.body.replace(self.thousands, "") if self.thousands else token.body
        return float(token.sign + body.replace(self.decimal, ".") + token.exponent) * factor

    @property
    def words(self) -> str:
        """Says what is read in another way than Python reads it, as the start of a clause."""
        parts = []
        if self.decimal == ",":
            parts.append("',' as decimal sign")
        if self.thousands and self != NumberFormat(",", "."):
            parts.append(f"{self.thousands!r} between thousands")
        if self.units == "percent":
            parts.append("the sign '%' left off")
        elif self.units:
            parts.append(f"units of {self.units}" + ", K as 1000" * (self.units != "seconds"))
        if self.hex:
            parts.append("'0x' as hexadecimal")
        return ", ".join(parts)


PLAIN = NumberFormat()


@dataclass(frozen=True)
class Recognised:
    """Holds a format, and notes on how it was found."""

    format: NumberFormat
    assumed: str = ""
    """Why the format was chosen where the cells also allow another, or nothing."""
    hex_share: float = 0.0
    """Share of the hexadecimal cells among those that are numbers."""


class _Token(NamedTuple):
    sign: str
    hex: str
    body: str
    exponent: str
    unit: str

    @property
    def value_of_hex(self) -> float:
        """Returns the cell's value where it is hexadecimal, infinite where that is too large."""
        try:
            return float(int(self.sign + self.hex, 16))
        except OverflowError:
            return float(self.sign + "inf")


def is_unset(text: str) -> bool:
    """Says whether a cell stands for no value."""
    return text.strip().lower() in UNSET


def recognise(
    texts: Sequence[str], weights: Sequence[int], plain: Sequence[float] | npt.NDArray[np.float64]
) -> Recognised:
    """Finds the format that reads the most cells: distinct ``texts``, each in ``weights`` cells.

    ``plain`` is what ``PLAIN`` reads of each. ``PLAIN`` where no other reads more.
    """
    cells = list(zip(texts, weights, np.isnan(plain).tolist(), strict=True))
    tokens = [(token, w) for t, w, odd in cells if odd and (token := _token(t)) is not None]
    if not tokens:
        return Recognised(PLAIN)
    # Cells that Python reads count too: '1.5' contradicts a decimal comma.
    tokens += [(token, w) for t, w, odd in cells if not odd and (token := _token(t)) is not None]
    hexes = sum(w for token, w in tokens if token.hex)
    numbers = [(token, w) for token, w in tokens if not token.hex]
    units = _units_of(numbers)
    shapes: Counter[str] = Counter()
    for token, weight in numbers:
        if not token.unit or _UNITS[units](token.unit) is not None:
            shapes[_shape(token.body)] += weight
    scores = {form: sum(w for s, w in shapes.items() if _is_written(s, *form)) for form in _FORMS}
    decimal, thousands = max(_FORMS, key=scores.__getitem__)
    assumed = ""
    if (decimal, thousands) == (".", ",") and scores[",", "."] == scores[".", ","]:
        assumed = "every comma has three digits behind it"
    found = NumberFormat(decimal, thousands, units, hexes > 0)
    total = hexes + max(scores.values())
    return Recognised(found, assumed, hexes / total if total else 0.0)


def may_be_number(text: str) -> bool:
    """Says whether some format reads a cell."""
    return _float(text) == _float(text) or _token(text) is not None


def _units_of(numbers: Sequence[tuple[_Token, int]]) -> str:
    """Returns the family of units that knows the units of the most cells."""
    weights: Counter[str] = Counter()
    for token, weight in numbers:
        weights[token.unit] += weight
    known = {
        name: sum(w for unit, w in weights.items() if unit and factor(unit) is not None)
        for name, factor in _UNITS.items()
    }
    return max(known, key=known.__getitem__)


def _shape(body: str) -> str:
    """Replaces all digits of ``body`` but the first with 0, so that a column has few patterns.

    Addresses are left as they are: their digits matter.
    """
    return body if body.count(".") == 3 else body[0] + body[1:].translate(_ZEROS)


def _float(text: str) -> float:
    if "_" in text:
        return float("nan")  # Python reads "1_0" as 10, no data file does
    try:
        return float(text)
    except ValueError:
        return float("nan")


def _token(text: str) -> _Token | None:
    found = _TOKEN.fullmatch(text.translate(_ODD_SIGNS).strip())
    if found is None:
        return None
    sign, digits, body, exponent, unit = found.groups("")
    return _Token(sign, digits, body.rstrip(), exponent, unit)


_PATTERNS: dict[tuple[str, str], re.Pattern[str]] = {}
for _decimal, _thousands in _FORMS:
    _whole = r"\d+"
    if _thousands:
        _whole += rf"|[1-9]\d{{0,2}}(?:{re.escape(_thousands)}\d{{3}})+"
    if _thousands == ",":
        _whole += r"|[1-9]\d?(?:,\d{2})+,\d{3}"  # 12,34,567 as in India
    _point = re.escape(_decimal)
    _PATTERNS[_decimal, _thousands] = re.compile(rf"(?:{_whole})(?:{_point}\d*)?|{_point}\d+")


def _is_written(body: str, decimal: str, thousands: str) -> bool:
    if not _PATTERNS[decimal, thousands].fullmatch(body):
        return False
    # 192.168.100.101 is an address.
    groups = body.split(".") if thousands == "." else []
    return len(groups) != 4 or any(not g.isdigit() or int(g) > 255 for g in groups)
