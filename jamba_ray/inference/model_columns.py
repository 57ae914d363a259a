"""Converts batches of raw rows into the columns of a model, each row independently of its batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa  # type: ignore[import-untyped]
from pandas.api import types

from jamba_ray.data import Preprocessor
from jamba_ray.data.cells import to_names, to_numbers
from jamba_ray.data.number_format import PLAIN
from jamba_ray.data.row_batches import valid_text
from jamba_ray.data.table import to_pandas


def kinds_of(preprocessor: Preprocessor) -> tuple[set[str], set[str]]:
    """Returns (columns to read as numbers, columns to read as text).

    A numeric column whose numbers are not in Python's notation is read as text; its format is
    applied later.
    """
    numeric = {c.name for c in preprocessor.numeric}
    numeric |= {c.name for c in preprocessor.categorical if c.tells_missing}
    texts = {c.name for c in preprocessor.categorical if not c.tells_missing}
    texts |= {n for n in numeric if preprocessor.formats.get(n, PLAIN) != PLAIN}
    return numeric - texts, texts


def model_frame(columns: pa.Table, preprocessor: Preprocessor) -> pd.DataFrame:
    """Returns a table as the DataFrame that ``Preprocessor.transform`` expects.

    A text is first compared with the categories of training as it stands, then as the number or
    truth value that it denotes. So the result does not depend on the type that a reader of whole
    files would infer.
    """
    known = {c.name: c.categories for c in preprocessor.categorical if not c.tells_missing}
    numeric = {c.name for c in preprocessor.numeric} - known.keys()
    series: dict[str, Any] = {}
    for name in columns.column_names:
        column = columns[name]
        if pa.types.is_string(column.type):
            column = valid_text(column)
            if name in numeric and (truths := _truths(column)) is not None:
                column = truths
        found = to_pandas(column)
        if name in known and isinstance(found.dtype, pd.CategoricalDtype):
            found = _named(found, set(known[name]))
        series[name] = found
    return pd.DataFrame(series, columns=columns.column_names)


def _truths(column: pa.ChunkedArray) -> pa.ChunkedArray | None:
    try:
        return column.cast(pa.bool_())
    except pa.ArrowInvalid:
        return None


def _named(column: pd.Series[Any], known: set[str]) -> pd.Series[Any]:
    """Renames cells to the category that they denote in another notation (``80.0`` or 80 to
    ``80``)."""
    texts = [str(text) for text in column.cat.categories]
    names = [_alias(text, known) for text in texts]
    if names == texts:
        return column
    # The last entry is what code -1 (missing) picks.
    picked = np.array([*names, None], dtype=object)[column.cat.codes.to_numpy()]
    return pd.Series(picked, name=column.name).astype("category")


def _alias(text: str, known: set[str]) -> str:
    plain = text.strip()
    if plain in known:
        return plain
    if plain.lower() in {"true", "false"}:
        return plain.lower()
    try:
        number = float(plain)
    except ValueError:
        return text
    return str(int(number)) if number.is_integer() else str(number)


def as_inferred(frame: pd.DataFrame, preprocessor: Preprocessor) -> pd.DataFrame:
    """Returns the frame with columns of names that are all numbers converted to numbers.

    The check of column kinds needs this.
    """
    changed: Mapping[str, Any] = {
        c.name: numbers
        for c in preprocessor.categorical
        if not c.tells_missing
        and not types.is_numeric_dtype(frame[c.name].dtype)
        and not set(to_names(frame[c.name])[1]) & set(c.categories)
        and not np.isnan(numbers := to_numbers(frame[c.name]))[frame[c.name].notna()].any()
    }
    return frame.assign(**changed) if changed else frame
