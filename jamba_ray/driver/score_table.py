"""Builds ``scores.parquet``: the scores of every judged row."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from jamba_ray.data.prepared import PreparedData
from jamba_ray.data.to_come import Drawn, newest_of

Probabilities = npt.NDArray[np.float64]


def score_table(
    probabilities: Mapping[str, Probabilities],
    baseline: Mapping[str, Probabilities] | None,
    data: PreparedData,
    drawn: Mapping[str, Drawn] | None = None,
) -> bytes:
    """Returns a Parquet file with one row per judged row.

    Columns: part, label, probability, baseline (null without one), group, and the time of rows that
    were split by it; under a shift ``drawn`` (by ``data.to_come``) and ``newest``. With it, figures
    need not score the tests again.
    """
    frames = []
    for part, rows in {"val": data.val, **data.tests}.items():
        columns: dict[str, Any] = {
            "label": rows.y.astype(np.int8),
            "probability": probabilities[part],
            "baseline": np.nan if baseline is None else baseline[part],
        }
        frame = pd.DataFrame({**columns, "part": part})
        if drawn:
            frame["drawn"] = drawn[part].rows if part in drawn else False
            newest = newest_of(rows, data.train)
            frame["newest"] = False if newest is None else newest
        frame["group"] = None if rows.group is None else rows.group.astype(str)
        frame = frame.astype({"part": "category", "group": object})
        if rows.time is not None and rows.time.dtype == getattr(data.val.time, "dtype", None):
            frame["time"] = rows.time
        frames.append(frame)
    buffer = io.BytesIO()
    pd.concat(frames, ignore_index=True).to_parquet(buffer, index=False)
    return buffer.getvalue()
