"""Writes ``trials.parquet``, which has one row for each trial."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from jamba_ray.runs.file_writes import write_bytes
from jamba_ray.runs.run_folder import RunFolder
from jamba_ray.study.records import TrialRecord

_LAST = ("epochs", "rows_seen", "seconds", "goodput_s", "reason", "checkpoint")


def write_trials(folder: RunFolder, trials: Sequence[TrialRecord]) -> None:
    """Writes the run's ``trials.parquet``: number, state, value, origin, params.*, val/*, epochs,
    rows_seen, seconds, goodput_s, reason, checkpoint; std_error, folds.

    Raises:
        StorageError: The file cannot be written.
    """
    buffer = io.BytesIO()
    pq.write_table(table(trials), buffer)
    write_bytes(folder.trials, buffer.getvalue())


def table(trials: Sequence[TrialRecord]) -> pa.Table:
    """Returns the trials as an Arrow table; a parameter of mixed types becomes JSON text."""
    paths = list(dict.fromkeys(path for t in trials for path in t.params))
    metrics = sorted({name for t in trials for name in t.metrics})
    columns: dict[str, Any] = {
        "number": pa.array([t.number for t in trials], pa.int64()),
        "state": pa.array([t.state for t in trials], pa.string()),
        "value": pa.array([t.value for t in trials], pa.float64()),
        "origin": pa.array([t.origin for t in trials], pa.string()),
    }
    for path in paths:
        columns[f"params.{path}"] = _column([t.params.get(path) for t in trials])
    for name in metrics:
        columns[name] = pa.array([t.metrics.get(name) for t in trials], pa.float64())
    types = {"rows_seen": pa.int64(), "reason": pa.string(), "checkpoint": pa.string()}
    for name in _LAST:
        values = [getattr(t, name) for t in trials]
        columns[name] = pa.array(values, types.get(name, pa.float64()))
    columns["std_error"] = pa.array([t.std_error for t in trials], pa.float64())
    folds = [list(t.folds) or None for t in trials]
    columns["folds"] = pa.array(folds, pa.list_(pa.float64()))
    return pa.table(columns)


def _column(values: list[Any]) -> pa.Array:
    kinds = {type(v) for v in values if v is not None}
    if len(kinds) <= 1:
        return pa.array(values)
    if kinds <= {int, float}:
        return pa.array([None if v is None else float(v) for v in values], pa.float64())
    return pa.array([None if v is None else json.dumps(v) for v in values], pa.string())
