"""Writes a network as a ``.pt`` file that is proven to hold it bit for bit, and verifies such
files."""

from __future__ import annotations

import numpy as np

from jamba_ray.errors import ConfigError, ParityError
from jamba_ray.exports.parity import LIMIT
from jamba_ray.exports.pt_file import read, written
from jamba_ray.exports.pt_model import dictionary, saved_model
from jamba_ray.exports.subject import Subject


def exported(subject: Subject) -> tuple[bytes, str]:
    """Returns the file and what its comparison found, in words; raises ConfigError for a model that
    is no network."""
    raw = written(dictionary(subject.saved))
    return raw, verified(subject, raw)


def verified(subject: Subject, raw: bytes) -> str:
    """Reads a file and compares it with the model; returns what was found, in words.

    Raises:
        ConfigError: It is no file of ``export``.
        ParityError: It holds another model.
    """
    try:
        saved = saved_model(read(raw))
    except ValueError as error:
        raise ConfigError(
            [f"`verify` must be a .pt file of this model, but {error}. Export the model again."]
        ) from error
    own = {n: a for n, a in subject.saved.snapshot.tensors.items() if n.startswith("model/")}
    held = saved.snapshot.tensors
    differs = [n for n in own.keys() | held.keys() if not _same(own.get(n), held.get(n))]
    again = saved.predictor()
    x = again.preprocessing.transform(subject.frame)
    apart = float(np.abs(again.score_matrices(*x) - subject.scores).max(initial=0.0))
    if differs or apart > LIMIT or again.threshold != subject.predictor.threshold:
        what = f"{len(differs)} weights" if differs else f"a score by {apart:.1e} or a threshold"
        raise ParityError(
            f"the file must hold the model, but differs in {what}. Export the model again."
        )
    return (
        f"{len(subject.frame):,} rows: all {len(own)} tensors are equal to the bit, scores differ "
        f"by at most {apart:.1e}"
    )


def _same(one: object, other: object) -> bool:
    if not (isinstance(one, np.ndarray) and isinstance(other, np.ndarray)):
        return False
    return (
        one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()
    )
