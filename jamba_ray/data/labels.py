"""The 0/1 target of a table."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from jamba_ray.config.names import nearest
from jamba_ray.errors import DataError

_WORDS = {"0": 0.0, "1": 1.0, "0.0": 0.0, "1.0": 1.0, "false": 0.0, "true": 1.0}


def labels(
    frame: pd.DataFrame, target: str, *, source: str = "the data"
) -> npt.NDArray[np.float32]:
    """The target column as [N] of 0.0 and 1.0.

    Booleans, 0/1 in any numeric type and the words ``0 1 true false`` (any case) are understood.
    Raises DataError, naming ``source``, where the column is missing, has gaps or other values.
    """
    if target not in frame.columns:
        guess = nearest(target, map(str, frame.columns)) or f" among its {len(frame.columns)}."
        raise DataError(
            f"{source} must have the target column {target!r}, but has no such column{guess} "
            "Set data.target=<column>."
        )
    # Few distinct values, so the rules are applied to those and not to every row.
    codes, values = pd.factorize(frame[target], use_na_sentinel=True)
    missing = int((codes < 0).sum())
    if missing:
        raise DataError(
            f"every row must have a label, but {missing} of {len(frame)} rows of {source} have "
            f"none in {target!r}; label them or remove them."
        )
    known = np.array([_label(value) for value in values], dtype=np.float64)
    if np.isnan(known).any():
        wrong = [str(value) for value, label in zip(values, known, strict=True) if np.isnan(label)]
        rows = int(np.isnan(known)[codes].sum())
        raise DataError(
            f"the target {target!r} must be 0 or 1 in every row, but {rows} of {len(frame)} rows "
            f"of {source} hold other values such as {wrong[0][:40]!r}; map them to 0 (benign) and "
            "1 (threat)."
        )
    return known[codes].astype(np.float32)


def check_both_labels(y: npt.NDArray[np.float32], part: str) -> None:
    """Raise DataError, naming ``part``, unless it holds benign rows and threats."""
    threats = int(y.sum())
    if threats in (0, len(y)):
        kind = "threats" if threats else "benign rows"
        raise DataError(
            f"{part} must hold benign rows and threats, but all {len(y)} rows are {kind}; "
            "check the target column and the split."
        )


def _label(value: Any) -> float:
    if isinstance(value, str):
        return _WORDS.get(value.strip().lower(), float("nan"))
    try:
        number = float(value)
    except (TypeError, ValueError):
        return float("nan")
    return number if number in (0.0, 1.0) else float("nan")
