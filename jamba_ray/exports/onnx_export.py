"""Writes a model as an ONNX file that is proven to give its answers, and verifies such files."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np

import jamba_ray
from jamba_ray.errors import ConfigError, ParityError
from jamba_ray.exports.cells import cells_of, described
from jamba_ray.exports.graph import ML_OPSET, OPSET, metadata_of, with_metadata
from jamba_ray.exports.onnx_model import onnx_bytes
from jamba_ray.exports.onnx_session import Session
from jamba_ray.exports.parity import Parity, compared, cut_below
from jamba_ray.exports.preprocessing_nodes import input_names
from jamba_ray.exports.subject import Subject

FORMAT = 1
_SINGLE_ROWS = 20
_REFERENCE_ROWS = 32
"""Rows whose scores are written into the file, so that whoever runs it can tell that it still gives
them. They are of those made to be hard: no row of the user's."""


def exported(subject: Subject) -> tuple[bytes, str]:
    """Returns the file and what its comparison found, in words.

    Raises:
        ConfigError: The family cannot be exported.
        ParityError: The file would not give the model's answers.
    """
    predictor = subject.predictor
    cuts = {
        name: cut_below(threshold, subject.scores) for name, threshold in subject.thresholds.items()
    }
    raw = onnx_bytes(
        subject.saved.snapshot,
        predictor.preprocessing,
        cuts,
        predictor.calibration,
        _metadata(subject, cuts),
        jamba_ray.__version__,
    )
    parity = _compared(subject, raw)
    _refuse_unequal(parity, "the file must give the model's answers", "Please report it")
    return with_metadata(raw, {"jamba_ray.parity": json.dumps(parity.to_json())}), parity.words


def verified(subject: Subject, raw: bytes) -> str:
    """Compares a file with the model; returns what was found, in words.

    Raises:
        ConfigError: It is no file of ``export``, or of another model.
        ParityError: It does not give the model's answers.
    """
    try:
        held = metadata_of(raw)
        found = {
            key.removeprefix("jamba_ray."): json.loads(value)
            for key, value in held.items()
            if key.startswith("jamba_ray.")
        }
        if found.get("format") != FORMAT:
            raise ValueError("it is not of `jamba-ray export`, or of a later version")
        parity = _compared_with(subject, raw, found)
    except ValueError as error:
        raise ConfigError(
            [f"`verify` must be an ONNX file of this model, but {error}. Export the model again."]
        ) from error
    _refuse_unequal(parity, "the file must give the model's answers", "Export the model again")
    return parity.words


def _compared_with(subject: Subject, raw: bytes, found: dict[str, Any]) -> Parity:
    for name, threshold in subject.thresholds.items():
        written = found.get("thresholds", {}).get(name, {}).get("threshold")
        if written != threshold:
            raise ValueError(f"its threshold {name!r} is {written}, and the run's is {threshold}")
    if found.get("columns") != described(subject.predictor.preprocessing):
        raise ValueError("it reads other columns")
    return _compared(subject, raw)


def _compared(subject: Subject, raw: bytes) -> Parity:
    session, cells = Session(raw), cells_of(subject.frame, subject.predictor.preprocessing)
    outputs = session(cells)
    # One row at a time too: what is right for many rows may be wrong for a single one.
    first = {name: values[:_SINGLE_ROWS] for name, values in cells.items()}
    for name, values in session(first, rows_at_a_time=1).items():
        outputs[name][:_SINGLE_ROWS] = values
    return compared(
        subject.scores, outputs, subject.thresholds, subject.probabilities, subject.real
    )


def _refuse_unequal(parity: Parity, rule: str, way_out: str) -> None:
    if not parity.passes:
        raise ParityError(f"{rule}, but does not: on {parity.words}. {way_out}.")


def _metadata(subject: Subject, cuts: dict[str, float]) -> dict[str, Any]:
    predictor = subject.predictor
    calibration = predictor.calibration
    thresholds = {
        name: {
            "threshold": threshold,
            "cut": cuts[name],
            "promise": (predictor.promise_of(name) or {}).get("sentence"),
        }
        for name, threshold in subject.thresholds.items()
    }
    return {
        "format": FORMAT,
        "families": subject.families,
        "columns": described(predictor.preprocessing),
        "thresholds": thresholds,
        "calibration": None if calibration is None else calibration.to_json(),
        "fingerprints": dict(predictor.fingerprints),
        "metrics": dict(predictor.metrics),
        "opset": {"ai.onnx": OPSET, "ai.onnx.ml": ML_OPSET},
        "preprocessing": predictor.preprocessing.to_json(),
        "reference": _reference(subject),
    }


def _reference(subject: Subject) -> dict[str, Any]:
    """Returns rows by column, as the body of a request has them, with their scores."""
    made = np.arange(subject.real, len(subject.scores))
    if not len(made):
        return {}
    at = made[np.unique(np.linspace(0, len(made) - 1, _REFERENCE_ROWS).astype(np.int64))]
    preprocessing = subject.predictor.preprocessing
    names = {name: column for column, name in input_names(preprocessing).items()}
    cells = cells_of(subject.frame.iloc[at].reset_index(drop=True), preprocessing)
    return {
        "rows": {names[name]: [_as_json(cell) for cell in v] for name, v in cells.items()},
        "score": subject.scores[at].tolist(),
    }


def _as_json(cell: Any) -> str | float | None:
    """Returns a cell as strict JSON has it: no NaN, and infinities as text."""
    if isinstance(cell, str):
        return cell or None
    number = float(cell)
    return number if math.isfinite(number) else None if math.isnan(number) else str(number)
