"""Tells the rows of a window from the reference rows with a classifier of all columns together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import norm  # type: ignore[import-untyped]

from jamba_ray.data.adversary import Features, odds, tell_apart
from jamba_ray.data.reference import Reference
from jamba_ray.watching.window import Window

MOST_ROWS = 4_000
"""Rows of a side that are compared."""
FEWEST_ROWS = 100
_GIVES_AWAY = 0.05


@dataclass(frozen=True)
class RowChange:
    """Says how well a classifier tells the rows of the window from those of the reference."""

    auc: float
    low: float
    high: float
    p: float
    columns: tuple[str, ...]
    """Those that give it away, the first most."""
    found: bool = False

    def to_json(self) -> dict[str, Any]:
        """Returns strict JSON."""
        return {
            "roc_auc": {"value": self.auc, "low": self.low, "high": self.high},
            "p": self.p,
            "found": self.found,
            "columns": list(self.columns),
        }


def compare_rows(window: Window, reference: Reference, bursts: float = 1.0) -> RowChange | None:
    """Compares whole rows; None where a side has fewer than ``FEWEST_ROWS``.

    ``bursts``: the largest design effect of a column, by which the rows are fewer than they look.
    """
    if min(len(window), len(reference)) < FEWEST_ROWS:
        return None
    here, there = _features(window, MOST_ROWS), _features(reference, MOST_ROWS)
    side = np.arange(len(here) + len(there)) < len(here)
    told = tell_apart(np.concatenate([here, there]), side)
    error = (told.high - told.low) / 2.0 / 1.96
    if told.auc + 1.96 * error > 1.0:  # the interval is cut at 1
        error = (told.auc - told.low) / 1.96
    error = max(error, 1e-6) * bursts**0.5
    names = (*reference.schema.numeric, *reference.schema.categorical)
    most = np.argsort(-told.gains)
    return RowChange(
        told.auc,
        told.low,
        told.high,
        float(norm.sf((told.auc - 0.5) / error)),
        tuple(names[j] for j in most[:5] if told.gains[j] >= _GIVES_AWAY),
    )


def weights_like(window: Window, reference: Reference) -> npt.NDArray[np.float64]:
    """Returns how many times more often rows like each of the reference [M] come in the window.

    Each half of the reference is weighted by what the other half and the window say.
    """
    x = _features(reference, len(reference))
    here = _features(window, MOST_ROWS)
    half = np.random.default_rng(0).random(len(x)) < 0.5
    found = np.empty(len(x))
    for judged in (half, ~half):
        found[judged] = odds(here, x[~judged], x[judged])
    return found


def _features(rows: Window | Reference, most: int) -> Features:
    at = np.arange(len(rows))
    if len(at) > most:
        at = np.linspace(0, len(at) - 1, most).astype(np.int64)
    return np.concatenate([rows.x_num[at], rows.x_cat[at].astype(np.float32)], axis=1)
