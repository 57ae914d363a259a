"""Which columns are features, and which of those are numeric or categorical.

Decided from the training rows alone, so that no other row can change what a model sees.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from pandas.api import types

from jamba_ray.data.cells import EXACT_INTEGERS, to_names, to_numbers
from jamba_ray.data.raw_table import RawColumns
from jamba_ray.errors import DataError

NUMBERS_IN_TEXT = 0.95
"""A text column of which so many cells are numbers is numeric; the others count as missing."""
LOOKS_LIKE_AN_ID = 0.5
"""A text column with more distinct values than this share of the rows is probably an identifier."""


@dataclass(frozen=True)
class Roles:
    """Feature columns by kind, in the table's order, and what a user should know of the choice."""

    numeric: tuple[str, ...]
    categorical: tuple[str, ...]
    notes: tuple[str, ...] = ()


def detect(
    train: pd.DataFrame | RawColumns,
    *,
    exclude: Collection[str] = (),
    numeric: Collection[str] = (),
    categorical: Collection[str] = (),
) -> Roles:
    """Give every column of ``train`` a role, except those of ``exclude`` (target, group ...).

    Numbers and booleans are numeric, however few values they take; text is categorical unless
    nearly all of it is numbers; times are left out, and so is what is constant or wholly missing.
    ``numeric`` and ``categorical`` override the looks of a column.

    Raises DataError where no feature remains.
    """
    found: dict[str, list[str]] = {"numeric": [], "categorical": []}
    notes: list[str] = []
    for name in train.columns:
        if name in exclude:
            continue
        wanted = "numeric" if name in numeric else "categorical" if name in categorical else None
        kind, note = _kind(train[name], wanted)
        if kind is not None:
            found[kind].append(name)
        if note:
            notes.append(f"Column {name!r} {note}.")
    if not any(found.values()):
        raise DataError(
            "the data must have at least one feature that varies, but none of its "
            f"{len(train.columns)} columns is one{_because(notes)}"
        )
    return Roles(tuple(found["numeric"]), tuple(found["categorical"]), tuple(notes))


def _kind(
    column: pd.Series[Any], wanted: str | None
) -> tuple[Literal["numeric", "categorical"] | None, str]:
    """The kind of one column, or None to leave it out; and a note to follow the column's name."""
    if column.isna().all():
        return None, "has no value in the training rows and is left out"
    if wanted is None and _is_time(column):
        return None, "holds times and is left out; name it in data.timestamp if rows follow it"
    if wanted == "categorical":
        return _if_varied("categorical", to_names(column)[0], "")
    is_number = types.is_numeric_dtype(column.dtype) or types.is_timedelta64_dtype(column.dtype)
    values = to_numbers(column)
    if is_number or wanted == "numeric":
        return _if_varied("numeric", values, _identifying(column))
    present = int(column.notna().sum())
    numbers = int((~np.isnan(values)).sum())
    if numbers >= NUMBERS_IN_TEXT * present:
        others = present - numbers
        note = f"holds {others} cells that are no number, taken as missing" if others else ""
        return _if_varied("numeric", values, note)
    codes, names = to_names(column)
    note = ""
    if len(names) > max(100, LOOKS_LIKE_AN_ID * present):
        note = (
            f"has {len(names)} different values in {present} training rows; if it is an "
            "identifier, name it in data.drop"
        )
    return _if_varied("categorical", codes, note)


def _if_varied(
    kind: Literal["numeric", "categorical"], values: np.ndarray[Any, Any], note: str
) -> tuple[Literal["numeric", "categorical"] | None, str]:
    """``kind``, unless all values (a missing cell counts as one) are the same."""
    missing = np.isnan(values) if values.dtype.kind == "f" else values < 0
    # NaN differs from everything, itself included, so gaps among equal values count as variation.
    if missing.any() != missing.all() or (values != values[0])[~missing].any():
        return kind, note
    return None, "is the same in all training rows and is left out"


def _is_time(column: pd.Series[Any]) -> bool:
    if types.is_datetime64_any_dtype(column.dtype):
        return True
    first = column.dropna().iloc[:1]
    return bool(types.is_object_dtype(column.dtype)) and types.infer_dtype(first) in {
        "date", "datetime", "time",
    }  # fmt: skip


def _identifying(column: pd.Series[Any]) -> str:
    """Say so where integers look like identifiers: rising by row, or too large for a float64."""
    if not types.is_integer_dtype(column.dtype):
        return ""
    present = column.dropna()
    if len(present) >= 100 and (np.diff(present.to_numpy()) > 0).all():
        return "rises from row to row; if it numbers the rows, name it in data.drop"
    if max(abs(int(present.min())), abs(int(present.max()))) > EXACT_INTEGERS:
        return (
            "holds integers past 2^53, of which neighbours become one number; if it is an "
            "identifier, name it in data.drop"
        )
    return ""


def _because(notes: Iterable[str]) -> str:
    first = next(iter(notes), "")
    return f": {first[0].lower()}{first[1:]}" if first else "; check data.drop."
