"""Counts labels per distinct score: all that any of our metrics depends on.

Letters: N rows, M distinct scores. Rows with equal scores cannot be told apart by a threshold, so
they are one block; a bootstrap resample only changes the counts, never the scores, so that a metric
written on counts serves for the point value and for its interval alike.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from jamba_ray.errors import TrialError

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
A = TypeVar("A")


@dataclass(frozen=True)
class Counts:
    """Says how many benign rows and threats have each score."""

    score: Floats
    """[M], strictly decreasing."""
    threats: Floats
    """[M], rows with label 1 at that score; whole numbers."""
    benign: Floats
    """[M], rows with label 0 at that score; whole numbers."""
    _of_scores: dict[Callable[[Floats], Any], Any] = field(
        default_factory=dict, repr=False, compare=False
    )
    """What ``of_scores`` has computed; resamples of the same scores share it."""

    @cached_property
    def n_threats(self) -> float:
        """Returns the number of rows with label 1."""
        return float(self.threats.sum())

    @cached_property
    def n_benign(self) -> float:
        """Returns the number of rows with label 0."""
        return float(self.benign.sum())

    @cached_property
    def threats_down_to(self) -> Floats:
        """Returns [M], rows with label 1 at each score or a higher one."""
        return np.cumsum(self.threats)

    @cached_property
    def benign_down_to(self) -> Floats:
        """Returns [M], rows with label 0 at each score or a higher one."""
        return np.cumsum(self.benign)

    def of_scores(self, compute: Callable[[Floats], A]) -> A:
        """Returns ``compute(score)``, computed once for all resamples of the same scores."""
        if compute not in self._of_scores:
            self._of_scores[compute] = compute(self.score)
        found: A = self._of_scores[compute]
        return found


def count(y: npt.ArrayLike, p: npt.ArrayLike) -> Counts:
    """Counts labels ``y`` [N] in {0, 1} and probabilities ``p`` [N].

    Raises:
        ValueError: If shapes differ or are not [N], there is no row, or a label is not 0 or 1.
        TrialError: If a probability is NaN, infinite or outside [0, 1]: the model has diverged.
    """
    labels, scores = checked(y, p)
    return blocks(labels, scores)[0]


def blocks(labels: npt.NDArray[np.bool_], scores: Floats) -> tuple[Counts, Ints]:
    """Returns the counts, and the block [N] that each row belongs to (an index into
    ``Counts.score``)."""
    ascending, inverse = np.unique(scores, return_inverse=True)
    m = len(ascending)
    block = m - 1 - inverse
    threats = np.bincount(block[labels], minlength=m).astype(np.float64)
    benign = np.bincount(block[~labels], minlength=m).astype(np.float64)
    return Counts(score=ascending[::-1].copy(), threats=threats, benign=benign), block


def checked(y: npt.ArrayLike, p: npt.ArrayLike) -> tuple[npt.NDArray[np.bool_], Floats]:
    """Returns labels as booleans and probabilities as float64, both [N]; raises as ``count``
    does."""
    labels = np.asarray(y)
    scores: npt.NDArray[Any] = np.asarray(p, dtype=np.float64)
    if labels.shape != scores.shape or labels.ndim != 1 or not len(labels):
        raise ValueError(
            "labels and probabilities must be two lists of one length, at least 1, but have the "
            f"shapes {labels.shape} and {scores.shape}"
        )
    if not np.isin(labels, (0, 1)).all():
        other = labels[~np.isin(labels, (0, 1))][0]
        raise ValueError(f"labels must be 0 or 1, but one is {other!r}")
    finite = np.isfinite(scores)
    if not finite.all():
        raise TrialError(
            f"Probabilities must be finite, but {int((~finite).sum())} of {len(scores)} are not: "
            "the model has diverged. Lower `training.learning_rate` or `training.grad_clip`."
        )
    if scores.min() < 0.0 or scores.max() > 1.0:
        raise TrialError(
            "Probabilities must lie in [0, 1], but they range from "
            f"{scores.min():g} to {scores.max():g}. Apply a sigmoid to logits first."
        )
    return labels.astype(bool), scores
