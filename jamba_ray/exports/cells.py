"""Converts a table to what an exported model is given: one array for each column.

This is the contract of a cell: numbers are float64 with NaN where a cell is missing or no number,
text is stripped and empty where a cell is missing.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from jamba_ray.data import Preprocessor
from jamba_ray.data.cells import to_names, to_numbers
from jamba_ray.data.number_format import PLAIN
from jamba_ray.exports.preprocessing_nodes import input_names, numbers_of


def cells_of(frame: pd.DataFrame, preprocessor: Preprocessor) -> dict[str, npt.NDArray[Any]]:
    """Returns input -> its values [N], float64 or text."""
    numbers = numbers_of(preprocessor)
    found: dict[str, npt.NDArray[Any]] = {}
    for column, name in input_names(preprocessor).items():
        if column in numbers:
            found[name] = to_numbers(frame[column], preprocessor.formats.get(column, PLAIN))
        else:
            codes, names = to_names(frame[column])
            # The last entry is what -1 (missing) picks.
            found[name] = np.array([*names, ""], dtype=object)[codes]
    return found


def described(preprocessor: Preprocessor) -> list[dict[str, Any]]:
    """Returns a strict JSON description of each input."""
    numbers = numbers_of(preprocessor)
    return [
        {
            "column": column,
            "input": name,
            "type": "float64" if column in numbers else "text",
            "missing": "NaN" if column in numbers else "",
            **(
                {"format": preprocessor.formats[column].to_json()}
                if column in preprocessor.formats
                else {}
            ),
        }
        for column, name in input_names(preprocessor).items()
    ]
