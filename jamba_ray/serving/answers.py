"""Writes answers: JSON, CSV or a stream of Arrow, with the columns that ``predict`` adds.

Letters: N rows.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import numpy.typing as npt

from jamba_ray.serving.deployment import Answer
from jamba_ray.serving.rows_body import ARROW, CSV, JSON, LINES, Rows, arrow

KINDS = (JSON, CSV, ARROW)


def kind_for(accept: str, content: str) -> str:
    """Returns the media type of the answer: what is accepted, else what the body has."""
    for kind in KINDS:
        if kind in accept and (kind != ARROW or arrow() is not None):
            return kind
    return JSON if content == LINES else content


def written(answer: Answer, rows: Rows, kind: str, more: dict[str, Any]) -> bytes:
    """Returns the answer as bytes of the media type ``kind``; ``more`` is for JSON."""
    if kind == JSON:
        return _json(answer, rows, more)
    columns = _columns(answer)
    return _csv(columns) if kind == CSV else _arrow(columns)


def _json(answer: Answer, rows: Rows, more: dict[str, Any]) -> bytes:
    scores = answer.scores
    found: dict[str, Any] = {
        "version": _per_row(answer, [model.version for model in answer.models]),
        "threshold": _per_row(answer, [model.threshold for model in answer.models]),
        "score": scores.score.tolist(),
        "alert": scores.alert.tolist(),
    }
    if scores.probability is not None:
        found["probability"] = scores.probability.tolist()
    if scores.alerts:
        found["alerts"] = {name: alert.tolist() for name, alert in scores.alerts.items()}
    if rows.is_one:
        found = {name: _first(value) for name, value in found.items()}
    return json.dumps({**found, **more}, allow_nan=False).encode()


def _first(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _first(one) for name, one in value.items()}
    return value[0] if isinstance(value, list) else value


def _per_row(answer: Answer, values: list[Any]) -> Any:
    if answer.by is None:
        return values[0]
    return [values[i] for i in answer.by.tolist()]


def _columns(answer: Answer) -> dict[str, npt.NDArray[Any]]:
    scores, n = answer.scores, len(answer.scores.score)
    by = np.zeros(n, dtype=np.int64) if answer.by is None else answer.by
    found: dict[str, npt.NDArray[Any]] = {
        "score": scores.score,
        "alert": scores.alert.astype(np.int8),
        "threshold": np.array([model.threshold for model in answer.models])[by],
    }
    if scores.probability is not None:
        found["probability"] = scores.probability
    return found


def _csv(columns: dict[str, npt.NDArray[Any]]) -> bytes:
    cells = [list(map(repr, column.tolist())) for column in columns.values()]
    lines = [",".join(columns), *map(",".join, zip(*cells, strict=True))]
    return ("\n".join(lines) + "\n").encode()


def _arrow(columns: dict[str, npt.NDArray[Any]]) -> bytes:
    pa = arrow()
    kinds = {"d": pa.float64(), "b": pa.int8()}
    # From buffers: conversions from NumPy import pandas.
    table = pa.table(
        {
            name: pa.Array.from_buffers(
                kinds[cells.dtype.char],
                len(cells),
                [None, pa.py_buffer(np.ascontiguousarray(cells))],
            )
            for name, cells in columns.items()
        }
    )
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    return bytes(sink.getvalue())
