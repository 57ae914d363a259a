"""Writes a network as a GGUF file with quantised weights, and judges what that costs.

A file is smaller, not faster: scoring turns its weights back to float32.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from jamba_ray.checkpoints import Snapshot
from jamba_ray.errors import ConfigError, JambaError, ParityError
from jamba_ray.evaluation import compare
from jamba_ray.exports import gguf_file
from jamba_ray.exports.gguf_file import Mix
from jamba_ray.exports.k_quants import BLOCK, Kind
from jamba_ray.exports.parity_rows import Floats
from jamba_ray.exports.pt_file import finite
from jamba_ray.exports.subject import Limits, Subject
from jamba_ray.inference.predictor import SavedModel
from jamba_ray.inference.team import parts_of

FORMAT = 1
KINDS: dict[str, Kind] = {"q4_k_m": "Q4_K", "q5_k_m": "Q5_K", "q8_0": "Q8_0"}
"""Name of a quantisation -> the type of its matrices."""
_MORE_EXACT: tuple[Kind, str] = ("Q8_0", "head.weight")
"""The last layer, a few hundred values, is what the score depends on most."""
MEANINGS = {
    "q4_k_m": "4.5 bits a weight: groups of 32 share a scale and a least value of 6 bits",
    "q5_k_m": "5.5 bits a weight, in the same groups",
    "q8_0": "8.5 bits a weight: groups of 32 share a scale",
}


@dataclass(frozen=True)
class Cost:
    """Says what quantised weights change."""

    mix: Mix
    nbytes: int
    """Bytes of the file."""
    rows: int
    max_dp: float
    flips: int
    """Rows with another verdict at the threshold ``default``."""
    loss: tuple[float, float, float] | None
    """Average precision lost on validation rows, with its 95 % interval; None: not measured."""

    @property
    def flip_rate(self) -> float:
        """Returns the share of rows with another verdict."""
        return self.flips / max(self.rows, 1)

    @property
    def words(self) -> str:
        """Returns the cost in words."""
        cost = "no labelled rows to measure average precision on"
        if self.loss is not None:
            value, low, high = self.loss
            cost = f"average precision lost {value:.4f} (95 % interval {low:.4f} to {high:.4f})"
        return (
            f"{self.rows:,} rows: {self.flips} verdicts differ ({self.flip_rate:.2%}), scores by "
            f"at most {self.max_dp:.1e}, {cost}; weights are {self.mix.words}"
        )


def exported(subject: Subject, quantization: str, limits: Limits) -> tuple[bytes, str]:
    """Returns the file and what it costs, in words.

    Raises:
        ConfigError: The model is no network.
        ParityError: It costs more than ``limits`` allow.
    """
    raw, cost = made(subject, quantization)
    _refuse_costly(cost, limits, "Choose `quantization=q8_0`, or raise the limit")
    return raw, cost.words


def verified(subject: Subject, raw: bytes, limits: Limits) -> str:
    """Compares a file with the model; returns what was found, in words.

    Raises:
        ConfigError: It is no file of ``export``.
        ParityError: It costs more than ``limits`` allow.
    """
    try:
        cost = _cost(subject, raw)
    except ValueError as error:
        raise ConfigError(
            [f"`verify` must be a GGUF file of this model, but {error}. Export the model again."]
        ) from error
    _refuse_costly(cost, limits, "Export the model again")
    return cost.words


def load(raw: bytes) -> SavedModel:
    """Returns the model in a file; raises ValueError where it is none of ``export``."""
    weights, document, _ = gguf_file.read(raw)
    return _saved(weights, document)


def made(subject: Subject, quantization: str) -> tuple[bytes, Cost]:
    """Returns the file and what it costs; raises ConfigError where the model is no network."""
    snapshot = subject.saved.snapshot
    weights = {
        name.removeprefix("model/"): array
        for name, array in snapshot.tensors.items()
        if name.startswith("model/")
    }
    if parts_of(snapshot) or not weights:
        family = "a team of several models" if parts_of(snapshot) else subject.families[0]
        raise ConfigError(
            [
                f"`format=gguf` holds the weights of one network, but the model is {family}. "
                "Choose `format=onnx`, or a trial of a network."
            ]
        )
    kinds: dict[str, Kind] = {
        name: KINDS[quantization]
        for name, array in weights.items()
        if array.ndim >= 2 and array.size >= BLOCK and array.dtype == np.float32
    }
    kind, exact = _MORE_EXACT
    if exact in weights:
        kinds[exact] = kind
    document = {
        "format": FORMAT,
        "quantization": quantization,
        "documents": finite(
            {
                name: snapshot.documents[name]
                for name in ("config", "preprocessing", "metrics", "fingerprints")
            }
        ),
        "step": snapshot.documents["state"]["step"],
        "thresholds": {name: dict(one) for name, one in subject.saved.thresholds.items()},
        "calibration": subject.saved.calibration and dict(subject.saved.calibration),
    }
    raw = gguf_file.written(weights, kinds, document)
    return raw, _cost(subject, raw)


def _saved(weights: dict[str, Any], document: dict[str, Any]) -> SavedModel:
    if document.get("format") != FORMAT:
        raise ValueError("it is not of `jamba-ray export`, or of a later version")
    try:
        documents = dict(document["documents"])
        documents["state"] = {"step": int(document["step"]), "kind": "gradient", "trial": 0}
        tensors = {f"model/{name}": array for name, array in weights.items()}
        snapshot = Snapshot(tensors, documents)
        saved = SavedModel(snapshot, document["thresholds"], document["calibration"])
        saved.predictor()
    except (KeyError, TypeError, AttributeError, JambaError) as error:
        raise ValueError(f"it holds no model ({error})") from error
    return saved


def _cost(subject: Subject, raw: bytes) -> Cost:
    """Compares a file on validation rows where there are any, else on the rows of the subject.

    Raises ValueError where the file is none of ``export``, or of another model.
    """
    weights, document, mix = gguf_file.read(raw)
    predictor, cut = _saved(weights, document).predictor(), subject.predictor.threshold
    if predictor.preprocessing.columns != subject.predictor.preprocessing.columns:
        raise ValueError("it reads other columns")
    if subject.labelled is not None:
        rows = subject.labelled
        x = rows.x_num, rows.x_cat
        before = subject.predictor.score_matrices(*x)
    else:
        n = subject.real or len(subject.frame)
        x = subject.predictor.preprocessing.transform(subject.frame.iloc[:n])
        before = subject.scores[:n]
    after = predictor.score_matrices(*x)
    flips = int(((before >= cut) != (after >= cut)).sum())
    apart = float(np.abs(before - after).max(initial=0.0))
    return Cost(mix, len(raw), len(before), apart, flips, _loss(subject, before, after))


def _loss(subject: Subject, before: Floats, after: Floats) -> tuple[float, float, float] | None:
    if subject.labelled is None:
        return None
    found = compare(subject.labelled.y, before, after)["average_precision"]
    return found["value"], found["low"], found["high"]


def _refuse_costly(cost: Cost, limits: Limits, way_out: str) -> None:
    loss = 0.0 if cost.loss is None else cost.loss[0]
    if cost.flip_rate > limits.flip_rate or loss > limits.loss:
        raise ParityError(
            f"a quantised file must turn at most {limits.flip_rate:.2%} of the verdicts and lose "
            f"at most {limits.loss:g} average precision (`max_flip_rate`, `max_loss`), but on "
            f"{cost.words}. {way_out}."
        )


def table(subject: Subject) -> list[tuple[str, str, str, str]]:
    """Returns for each quantisation its name, what it is, the size of its file and its cost."""
    rows = []
    for name in KINDS:
        raw, cost = made(subject, name)
        rows.append((name, MEANINGS[name], f"{len(raw) / 1e3:.0f} kB", cost.words))
    return rows
