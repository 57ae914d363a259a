"""Compares the answers of an exported model with those of its own, row by row.

Letters: N rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float64]

LIMIT = 1e-5
"""Most that a score may differ in an export of full precision."""
NEAR = 1e-6
"""A row whose score is that near a threshold lies on it: rounding may turn its verdict."""


def cut_below(threshold: float, scores: Floats) -> float:
    """Returns where an exported model cuts: a little below the threshold.

    A threshold is mostly the score of some row, which rounding would turn into no alert. The cut is
    half way to the next lower score, at most ``NEAR`` below the threshold.
    """
    below = scores[scores < threshold]
    gap = threshold - float(below.max()) if len(below) else np.inf
    return threshold - min(gap / 2, NEAR)


@dataclass(frozen=True)
class Parity:
    """Says how far the answers are apart."""

    rows: int
    real: int
    """How many of the rows are the user's; the others were made to be hard."""
    max_dp: float
    """The largest difference of a score."""
    max_dprobability: float | None
    """The largest difference of a calibrated probability; None: there is no calibration."""
    flips: Mapping[str, int]
    """Threshold -> rows with another verdict, those that lie on the threshold apart."""
    on_threshold: int
    """Rows that lie on a threshold and have another verdict."""
    worst: int
    """The row with the largest difference."""

    @property
    def passes(self) -> bool:
        """Says whether an export of full precision may be used."""
        apart = max(self.max_dp, self.max_dprobability or 0.0)
        return apart <= LIMIT and not any(self.flips.values())

    def to_json(self) -> dict[str, Any]:
        """Returns strict JSON."""
        return {
            "rows": self.rows,
            "real_rows": self.real,
            "max_dp": self.max_dp,
            "max_dprobability": self.max_dprobability,
            "flips": dict(self.flips),
            "on_threshold": self.on_threshold,
            "limit": LIMIT,
        }

    @property
    def words(self) -> str:
        """Returns what was found, for a message."""
        n = sum(self.flips.values())
        on = f" ({self.on_threshold} on a threshold)" if self.on_threshold else ""
        return (
            f"{self.rows:,} rows ({self.rows - self.real:,} of them made to be hard): scores "
            f"differ by at most {self.max_dp:.1e}, {n} verdicts differ{on}"
        )


def compared(
    scores: Floats,
    outputs: Mapping[str, npt.NDArray[Any]],
    thresholds: Mapping[str, float],
    probabilities: Floats | None,
    real: int,
) -> Parity:
    """Compares native ``scores`` [N] with the ``outputs`` of a file; the first ``real`` rows are
    the user's."""
    apart = np.abs(scores - outputs["score"])
    apart = np.where(np.isnan(apart), np.inf, apart)
    flips, on = {}, 0
    for name, threshold in thresholds.items():
        alert = outputs["alert" if name == "default" else f"alert_{name}"]
        differs = (scores >= threshold) != (alert == 1)
        near = np.abs(scores - threshold) <= NEAR
        flips[name] = int((differs & ~near).sum())
        on += int((differs & near).sum())
    other = None
    if probabilities is not None:
        other = float(np.abs(probabilities - outputs["probability"]).max(initial=0.0))
    worst = int(apart.argmax()) if len(apart) else 0
    return Parity(len(scores), real, float(apart.max(initial=0.0)), other, flips, on, worst)
