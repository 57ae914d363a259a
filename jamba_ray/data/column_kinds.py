"""Checks that the columns of rows to score are of the kind that training saw."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from pandas.api import types

from jamba_ray.data.cells import is_text, to_names, to_numbers, unreadable
from jamba_ray.data.fitted_columns import CategoricalColumn
from jamba_ray.data.number_format import PLAIN, NumberFormat
from jamba_ray.data.preprocessing import Preprocessor, check_columns
from jamba_ray.errors import DataError

_LOOKED_AT = 1000
"""Cells that nearly always settle it."""


def check_kinds(frame: pd.DataFrame, preprocessor: Preprocessor, source: str) -> None:
    """Checks that each column is there once and holds numbers or names as it did in training.

    Raises:
        DataError: A column is missing, occurs twice, holds no number where training had numbers, or
            holds numbers where training had other names; the sentence names ``source``.

    A few odd cells are no such column: they count as missing, or as an unknown category.
    """
    check_columns(list(frame.columns), preprocessor.columns, source)
    for name in dict.fromkeys(column.name for column in preprocessor.numeric):
        column, form = frame[name], preprocessor.formats.get(name, PLAIN)
        if not _has_number(column.iloc[:_LOOKED_AT], form) and not _has_number(column, form):
            shown = _shown(column, form)
            if shown:
                raise DataError(
                    f"column {name!r} of {source} must hold numbers, as in training, but none of "
                    f"its cells is one, such as {shown!r}; check that columns are not mixed up."
                )
    for category in preprocessor.categorical:
        if not category.tells_missing and _is_other(frame[category.name], category):
            raise DataError(
                f"column {category.name!r} of {source} must hold names such as "
                f"{category.categories[0]!r}, as in training, but holds numbers; check that "
                "columns are not mixed up."
            )


def _has_number(column: pd.Series[Any], form: NumberFormat) -> bool:
    kind = column.dtype
    if types.is_numeric_dtype(kind) or types.is_timedelta64_dtype(kind):
        return True
    return bool((~np.isnan(to_numbers(column, form))).any())


def _shown(column: pd.Series[Any], form: NumberFormat) -> str:
    """Returns a cell that holds something, or an empty text where none does."""
    if is_text(column):
        return unreadable(column, form).shown
    present = column.dropna()
    return str(present.iloc[0]) if len(present) else ""


def _is_other(column: pd.Series[Any], category: CategoricalColumn) -> bool:
    """Says whether a column holds numbers where training had names, none of which it holds."""
    if not types.is_numeric_dtype(column.dtype) or column.isna().all():
        return False
    if (~np.isnan(to_numbers(pd.Series(category.categories, dtype=object)))).any():
        return False
    return not set(to_names(column)[1]) & set(category.categories)
