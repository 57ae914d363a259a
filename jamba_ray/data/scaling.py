"""Scales one numeric column to a feature of order 1: standard, robust or quantile scaling.

A scale is fitted on finite training values and is a small immutable object that JSON can hold.
Values are divided by ``unit`` (their largest magnitude) before anything else, so that no column,
however large or small, overflows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri  # type: ignore[import-untyped]

Floats: TypeAlias = npt.NDArray[np.float64]

LIMIT = 8.0
"""Scaled values are clipped to [-LIMIT, LIMIT]: one absurd reading must not saturate a network."""
_KNOT_LEVELS = ndtr(np.linspace(-4.0, 4.0, 257))
"""Quantiles at which a column is remembered, even in normal scores, so tails are kept as well."""


@dataclass(frozen=True)
class LinearScale:
    """Scales by (x / unit - center) / spread."""

    unit: float
    center: float
    spread: float

    def __call__(self, x: Floats) -> Floats:
        """Scales raw and finite values [N]."""
        with np.errstate(over="ignore"):  # an infinite quotient is clipped like any large one
            return np.clip((x / self.unit - self.center) / self.spread, -LIMIT, LIMIT)

    def inverse(self, scaled: Floats) -> Floats:
        """Returns values that have these scaled ones, to rounding."""
        return (scaled * self.spread + self.center) * self.unit

    def to_json(self) -> dict[str, Any]:
        """Returns strict JSON, exact to the bit (Python writes floats that read back the same)."""
        return {"unit": self.unit, "center": self.center, "spread": self.spread}


@dataclass(frozen=True)
class QuantileScale:
    """Computes the normal score of a value's rank, interpolated between remembered values.

    A value that many training rows share (the zeros of a byte count) gets the score of the middle
    of its ranks, as scikit-learn's ``QuantileTransformer`` does inside its range; at the ends,
    where that one jumps to +-5.2, this one keeps the middle too, so a column that is mostly zero
    stays informative. Beyond the training range the end score holds.
    """

    unit: float
    values: tuple[float, ...]
    scores: tuple[float, ...]

    def __call__(self, x: Floats) -> Floats:
        """Scales raw and finite values [N]."""
        values, scores = np.asarray(self.values), np.asarray(self.scores)
        with np.errstate(over="ignore"):
            at = np.clip(x / self.unit, values[0], values[-1])
        right = np.clip(np.searchsorted(values, at, side="left"), 1, len(values) - 1)
        left = right - 1
        share = (at - values[left]) / (values[right] - values[left])
        scaled: Floats = scores[left] + share * (scores[right] - scores[left])
        return scaled

    def inverse(self, scaled: Floats) -> Floats:
        """Returns values that have these scaled ones, to rounding; beyond the ends, the ends."""
        found: Floats = np.interp(scaled, self.scores, self.values) * self.unit
        return found

    def to_json(self) -> dict[str, Any]:
        """Returns strict JSON, exact to the bit."""
        return {"unit": self.unit, "values": list(self.values), "scores": list(self.scores)}


Scale: TypeAlias = LinearScale | QuantileScale


def fit_scale(x: Floats, kind: Literal["standard", "robust", "quantile"]) -> Scale | None:
    """Fits on the finite values x [N]; returns None where they do not vary."""
    low, high = float(x.min()), float(x.max())
    if low == high:
        return None
    unit = max(abs(low), abs(high))
    x = x / unit
    if kind == "quantile":
        return _fit_quantiles(x, unit)
    center, spread = float(x.mean()), float(x.std())
    if kind == "robust":
        lower, center, upper = (float(q) for q in np.quantile(x, [0.25, 0.5, 0.75]))
        # Half of the rows the same (a rare event's count): the IQR says nothing.
        spread = (upper - lower) / 1.349 or spread
    return LinearScale(unit, center, spread) if spread > 0 else None


def scale_from_json(value: Mapping[str, Any]) -> Scale:
    """Makes a scale from what ``to_json`` returned."""
    if "spread" in value:
        return LinearScale(value["unit"], value["center"], value["spread"])
    return QuantileScale(value["unit"], tuple(value["values"]), tuple(value["scores"]))


def _fit_quantiles(x: Floats, unit: float) -> QuantileScale | None:
    x = np.sort(x)
    values = np.unique(np.quantile(x, [0.0, *_KNOT_LEVELS, 1.0], method="inverted_cdf"))
    if len(values) < 2:
        return None
    below = np.searchsorted(x, values, side="left")
    upto = np.searchsorted(x, values, side="right")
    scores = ndtri((below + upto) / (2.0 * len(x)))
    return QuantileScale(unit, tuple(values.tolist()), tuple(scores.tolist()))
