"""Decides which columns are features, and which of those are numeric or categorical.

Decided from the training rows alone, so that no other row can change what a model sees.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pandas as pd
from pandas.api import types

from jamba_ray.config.command_line import setting
from jamba_ray.data.cells import (
    EXACT_INTEGERS,
    Counted,
    Distinct,
    as_text,
    is_text,
    to_names,
    to_numbers,
)
from jamba_ray.data.number_format import (
    PLAIN,
    NumberFormat,
    Recognised,
    is_unset,
    may_be_number,
    recognise,
)
from jamba_ray.data.raw_table import RawColumns
from jamba_ray.data.row_numbers import is_identifier, numbers_rows
from jamba_ray.data.scaling import Floats
from jamba_ray.data.time_fields import looks_like_time
from jamba_ray.data.times import epoch_units
from jamba_ray.errors import DataError

Kind = Literal["numeric", "categorical"]
NUMBERS_IN_TEXT = 0.95
"""A text column of which so many cells are numbers is numeric; the others count as missing."""
WORDS_AMONG_NUMBERS = 10
"""A text column of which half of the cells are numbers, too many for categories, is numeric also
where the others are so few different words."""
FEW_CATEGORIES = 100
_SAMPLE = 2000
_TIMES = "holds times and is left out; name it in data.timestamp if rows follow it"
LOOKS_LIKE_AN_ID = 0.5
"""A text column with more distinct values than this share of the rows is probably an identifier."""


@dataclass(frozen=True)
class Roles:
    """Holds the feature columns by kind, in the table's order, and notes on the choice."""

    numeric: tuple[str, ...]
    categorical: tuple[str, ...]
    notes: tuple[str, ...] = ()
    formats: Mapping[str, NumberFormat] = field(default_factory=dict)
    """How numbers are written, of numeric columns where Python's ``float`` does not read them."""


def detect(
    train: pd.DataFrame | RawColumns,
    *,
    exclude: Collection[str] = (),
    numeric: Collection[str] = (),
    categorical: Collection[str] = (),
    keep: Sequence[str] = (),
) -> Roles:
    """Assigns a role to every column of ``train`` except those of ``exclude`` (target, group ...).

    Numbers and booleans are numeric, however few values they take; text is categorical unless
    nearly all of it, cells like ``-`` aside, is numbers in one of the ways that ``NumberFormat``
    knows; times are left out, and so is what is constant, wholly missing or numbers the rows.
    ``numeric`` and ``categorical`` override the looks of a column, ``keep`` that it numbers rows.

    Raises DataError where no feature remains.
    """
    found: dict[str, list[str]] = {"numeric": [], "categorical": []}
    notes: list[str] = []
    formats: dict[str, NumberFormat] = {}
    for name in train.columns:
        if name in exclude:
            continue
        wanted = "numeric" if name in numeric else "categorical" if name in categorical else None
        column = train[name]
        if wanted is None and name not in keep and (how := numbers_rows(column, str(name))):
            kept = setting("data.keep", [*keep, name])
            notes.append(f"Column {name!r} {how} and is left out ({kept} makes it a feature).")
            continue
        kind, note, form = _kind(column, wanted)
        if kind is not None:
            found[kind].append(name)
        if kind == "numeric" and form != PLAIN:
            formats[name] = form
        if note:
            notes.append(f"Column {name!r} {note}.")
    if not any(found.values()):
        raise DataError(
            "the data must have at least one feature that varies, but none of its "
            f"{len(train.columns)} columns is one{_because(notes)}"
        )
    return Roles(tuple(found["numeric"]), tuple(found["categorical"]), tuple(notes), formats)


def _kind(column: pd.Series[Any], wanted: str | None) -> tuple[Kind | None, str, NumberFormat]:
    """Decides the kind of one column, or None to leave it out.

    Also returns a note that follows the column's name, and the format of its numbers.
    """
    if column.isna().all():
        return None, "has no value in the training rows and is left out", PLAIN
    if wanted is None and _is_time(column):
        return None, _TIMES, PLAIN
    if wanted == "categorical":
        return *_if_varied("categorical", to_names(column)[0], ""), PLAIN
    if is_text(column):
        return _kind_of_text(column, wanted)
    values = to_numbers(column)
    is_number = types.is_numeric_dtype(column.dtype) or types.is_timedelta64_dtype(column.dtype)
    if is_number or wanted == "numeric":
        return *_if_varied("numeric", values, _identifying(column)), PLAIN
    return *_if_varied("categorical", to_names(column)[0], ""), PLAIN


def _kind_of_text(
    column: pd.Series[Any], wanted: str | None
) -> tuple[Kind | None, str, NumberFormat]:
    distinct = Distinct.of(column)
    sample = [text for text in _sample(distinct) if not is_unset(text)]
    if wanted is None and sum(map(looks_like_time, sample)) > NUMBERS_IN_TEXT * len(sample):
        return None, _TIMES, PLAIN
    if wanted is None and not _may_be_numbers(sample):
        return *_named(column, distinct, ""), PLAIN
    numbers = distinct.numbers(PLAIN)
    found = recognise([as_text(v) for v in distinct.values], distinct.counts.tolist(), numbers)
    if found.format != PLAIN:
        numbers = distinct.numbers(found.format)
    known, unset = ~np.isnan(numbers), distinct.unset(numbers)
    odd = distinct.counted(~known & ~unset)
    n_known = int(distinct.counts[known].sum())
    if wanted == "numeric" and not n_known:
        shown = odd.shown or distinct.counted(unset).shown
        note = f"is named in data.numeric, but none of its {distinct.present} cells is a number "
        return None, note + f"(such as {shown!r}), so it is left out", PLAIN
    if wanted == "numeric" or _is_numeric(numbers[known], n_known, odd, found):
        note = _reading(distinct, numbers, distinct.counted(unset), odd, found)
        return *_if_varied("numeric", distinct.cells(numbers), note), found.format
    note = ""
    if n_known >= odd.cells:
        note = (
            f"; if it holds numbers, as {n_known} of its cells do, name it in data.numeric "
            f"(cells such as {odd.shown!r} then count as missing)"
        )
    return *_named(column, distinct, note), PLAIN


def _sample(distinct: Distinct) -> list[str]:
    """Returns some cells as text, the same ones each time."""
    present = distinct.codes[distinct.codes >= 0]
    picked = np.random.default_rng(0).integers(len(present), size=_SAMPLE)
    return [as_text(distinct.values[code]) for code in np.unique(present[picked])]


def _may_be_numbers(sample: Collection[str]) -> bool:
    """Says whether a column may be numbers; False where a sample shows few of them."""
    few = len(sample) < _SAMPLE // 10
    return few or 4 * sum(map(may_be_number, sample)) >= len(sample)


def _named(column: pd.Series[Any], distinct: Distinct, more: str) -> tuple[Kind | None, str]:
    codes, names = to_names(column)
    note = ""
    if len(names) > max(FEW_CATEGORIES, LOOKS_LIKE_AN_ID * distinct.present):
        shown = distinct.counted(np.ones(len(distinct.values), dtype=bool)).shown
        note = f"has {len(names)} different values in {distinct.present} training rows (such as "
        note += f"{shown!r}); if it is an identifier, name it in data.drop{more}"
    return _if_varied("categorical", codes, note)


def _is_numeric(known: Floats, n_known: int, odd: Counted, found: Recognised) -> bool:
    """Says whether text is numbers; ``known`` are the distinct ones, in ``n_known`` cells."""
    if not n_known or (found.hex_share == 1.0 and len(known) <= FEW_CATEGORIES):
        return False  # a few flags such as 0x02 are names
    mostly = n_known >= odd.cells and odd.distinct <= WORDS_AMONG_NUMBERS
    nearly_all = n_known >= NUMBERS_IN_TEXT * (n_known + odd.cells)
    return nearly_all or (mostly and len(np.unique(known)) > FEW_CATEGORIES)


def _reading(
    distinct: Distinct, numbers: Floats, unset: Counted, odd: Counted, found: Recognised
) -> str:
    """Says how text is read as ``numbers`` and what of it is not read, to follow the column's
    name."""
    gaps = [f"{unset.cells} cells that are unset (such as {unset.shown!r})"] if unset.cells else []
    gaps += [f"{odd.cells} cells that are no number (such as {odd.shown!r})"] if odd.cells else []
    missing = " and ".join(gaps) + ", taken as missing"
    if found.format == PLAIN:
        return "holds " + missing if gaps else ""
    read = {as_text(v): x for v, x in zip(distinct.values, numbers, strict=True) if x == x}
    shown = max((t for t in read if np.isnan(PLAIN.number(t))), key=len)
    why = f", assumed since {found.assumed}" if found.assumed else ""
    rest = "it holds " + missing if gaps else "every cell is a number"
    return (
        f"is read with {found.format.words} ({shown.strip()!r} is {read[shown]:.15g}{why}); {rest}"
    )


def _if_varied(kind: Kind, values: np.ndarray[Any, Any], note: str) -> tuple[Kind | None, str]:
    """Returns ``kind`` unless all values (a missing cell counts as one) are the same."""
    missing = np.isnan(values) if values.dtype.kind == "f" else values < 0
    # NaN differs from everything, itself included, so gaps among equal values count as variation.
    if missing.any() != missing.all() or (values != values[0])[~missing].any():
        return kind, note
    return None, "is the same in all training rows and is left out"


def tells_rows_apart(column: pd.Series[Any], name: str, rare_below: int) -> bool:
    """Says whether a column may make two rows different ones, as ``detect`` will look at it.

    Times, row numbers, and text of which no value comes ``rare_below`` times are no features.
    """
    if column.isna().all() or _is_time(column) or numbers_rows(column, name):
        return False
    if not is_text(column):
        return True
    distinct = Distinct.of(column)
    sample = [text for text in _sample(distinct) if not is_unset(text)]
    if sum(map(looks_like_time, sample)) > NUMBERS_IN_TEXT * len(sample):
        return False
    return bool(distinct.counts.max() >= rare_below) or _may_be_numbers(sample)


def _is_time(column: pd.Series[Any]) -> bool:
    if types.is_datetime64_any_dtype(column.dtype):
        return True
    first = column.dropna().iloc[:1]
    return bool(types.is_object_dtype(column.dtype)) and types.infer_dtype(first) in {
        "date", "datetime", "time",
    }  # fmt: skip


def _identifying(column: pd.Series[Any]) -> str:
    """Says so where numbers look like times, or integers like identifiers.

    Those are another one in nearly every row, spread evenly over a wide range (amounts are not), or
    too large for a float64.
    """
    if units := epoch_units(column):
        mixed = ", mixed" if len(units) > 1 else ""
        return (
            f"looks like times ({' and '.join(units)} since 1970{mixed}); name it in "
            "data.timestamp if rows follow it, else in data.drop"
        )
    if not types.is_integer_dtype(column.dtype):
        return ""
    present = column.dropna()
    if max(abs(int(present.min())), abs(int(present.max()))) > EXACT_INTEGERS:
        return (
            "holds integers past 2^53, of which neighbours become one number; if it is an "
            "identifier, name it in data.drop"
        )
    if is_identifier(present.to_numpy()):
        return (
            f"has another whole number in nearly every row, spread evenly from {present.min():,} "
            f"to {present.max():,}; if it is an identifier, name it: "
            + setting("data.drop", [str(column.name)])
        )
    return ""


def _because(notes: Iterable[str]) -> str:
    first = next(iter(notes), "")
    return f": {first[0].lower()}{first[1:]}" if first else "; check data.drop."
