"""Holds an exported model that is ready to score the rows of requests.

Letters: N rows, C columns.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from jamba_ray.errors import ConfigError
from jamba_ray.exports.onnx_session import Session
from jamba_ray.serving.column import Cells
from jamba_ray.serving.schema import Schema

FORMAT = 1
_SELF_CHECK = 1e-5
"""Most that a reference row may differ: the limit of ``jamba-ray export``."""


class ScoringError(Exception):
    """Reports that a model failed on rows that fit its schema: the model's fault, not theirs."""


@dataclass(frozen=True)
class Scores:
    """Holds what a model says of N rows."""

    score: npt.NDArray[np.float64]
    alert: npt.NDArray[np.int64]
    probability: npt.NDArray[np.float64] | None
    """None: the model has no calibration."""
    alerts: Mapping[str, npt.NDArray[np.int64]]
    """By the name of each other threshold."""


class ServedModel:
    """Scores rows with one file of ``jamba-ray export``."""

    def __init__(self, raw: bytes, name: str, version: str | None, threads: int = 1) -> None:
        """Loads a file; ``version``: None: the file's digest says it.

        Raises:
            ConfigError: It is no such file, or does not give the answers that it was proven to.
        """
        self.digest = hashlib.sha256(raw).hexdigest()
        self.name, self.version = name, version or f"{name}-{self.digest[:8]}"
        try:
            self._session = Session(raw, threads)
            self.metadata = _metadata(self._session.metadata)
            self.schema = Schema.of(self.metadata)
            self.thresholds = {
                key: float(one["threshold"]) for key, one in self.metadata["thresholds"].items()
            }
            self.threshold = self.thresholds["default"]
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigError(
                [
                    f"a server needs an ONNX file of `jamba-ray export`, but {name!r} is none "
                    f"({str(error)[:200]}). Export the run again."
                ]
            ) from error
        self.loaded_at = time.time()
        self._check()

    def score(self, rows: Mapping[str, Cells]) -> Scores:
        """Scores rows [N], given by column.

        Raises:
            SchemaError: The rows are not what the model takes.
            ScoringError: The model fails, or answers with what is no number.
        """
        return self.score_cells(self.schema.cells(rows))

    def score_cells(self, cells: Mapping[str, npt.NDArray[Any]]) -> Scores:
        """Scores the inputs that ``schema.cells`` returned."""
        try:
            found = self._session(cells)
        except Exception as error:  # the runtime has kinds of its own
            raise ScoringError(f"{type(error).__name__}: {str(error)[:200]}") from error
        score = found["score"]
        if not np.isfinite(score).all():
            raise ScoringError("a score is not finite")
        others = {
            key.removeprefix("alert_"): value
            for key, value in found.items()
            if key.startswith("alert_")
        }
        return Scores(score, found["alert"], found.get("probability"), others)

    @property
    def reference(self) -> dict[str, Any] | None:
        """Returns rows with the scores that the model had before it was exported; None: the file
        has none."""
        found = self.metadata.get("reference") or None
        return found if isinstance(found, dict) else None

    def describe(self) -> dict[str, Any]:
        """Returns what a client may know of the model, as strict JSON."""
        return {
            "name": self.name,
            "version": self.version,
            "sha256": self.digest,
            "families": self.metadata.get("families"),
            "thresholds": self.metadata["thresholds"],
            "calibrated": self.metadata.get("calibration") is not None,
            "metrics": self.metadata.get("metrics"),
            "fingerprints": self.metadata.get("fingerprints"),
            "parity": self.metadata.get("parity"),
            "columns": self.schema.to_json(),
            "loaded_at": self.loaded_at,
        }

    def _check(self) -> None:
        """Scores the reference rows, which also makes the first request as fast as the others."""
        if (reference := self.reference) is None:
            try:
                self.score_cells(self.schema.typical())
            except ScoringError as error:
                raise ConfigError(
                    [
                        f"the model {self.name!r} must score a typical row, but fails: {error}. "
                        "Export it again."
                    ]
                ) from error
            return
        try:
            found = self.score(reference["rows"]).score
            apart = float(np.abs(found - np.array(reference["score"])).max(initial=0.0))
        except Exception as error:
            raise ConfigError(
                [f"the model {self.name!r} must score its reference rows, but fails: {error}."]
            ) from error
        if not apart <= _SELF_CHECK:
            raise ConfigError(
                [
                    f"the model {self.name!r} must score its reference rows as it did when it was "
                    f"exported, but differs by {apart:.2g} on this machine. Export it again here, "
                    "or install the onnxruntime that it was exported with."
                ]
            )


def _metadata(held: Mapping[str, str]) -> dict[str, Any]:
    prefix = "jamba_ray."
    found = {k.removeprefix(prefix): json.loads(v) for k, v in held.items() if k.startswith(prefix)}
    if found.get("format") != FORMAT:
        raise ValueError("it is of another program, or of a later version")
    return found
