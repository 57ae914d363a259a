"""Draws, of the rows that a promise rests on, those that are like the rows to come.

Where the shift check tells newer rows from training rows, each row is drawn with a probability in
proportion to how many times more often rows like it come among the newer ones. What is drawn is a
sample of them, so that a bound for it is one for them (rejection sampling: Park, Dobriban, Lee &
Bastani 2022, *PAC prediction sets under covariate shift*), as long as the same features mean the
same threats there. The odds come from a classifier and are not exact: whether what is drawn can
still be told from newer rows is measured again.

Letters: N rows, F features.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from jamba_ray.config.data import CALIBRATION
from jamba_ray.data.adversary import Features, odds, tell_apart
from jamba_ray.data.prepared import PreparedData, Rows
from jamba_ray.data.shift import APART, SURELY_APART
from jamba_ray.data.shift_check import (
    FEWEST_ROWS,
    MOST_ROWS,
    features_of,
    newest_and_older,
    order_of,
    some_features,
)

_NEWEST = 0.2
_LEAST_EFFECTIVE = 0.05
"""Share of the rows, as the weights count them, below which a few rows decide."""


@dataclass(frozen=True)
class Drawn:
    """Holds which rows were drawn, and whether they are like the rows to come."""

    rows: npt.NDArray[np.bool_]
    """[N]."""
    effective: float
    """As many rows of equal weight would say as much (Kish 1965)."""
    auc: float
    """ROC AUC of telling rows to come from those drawn."""
    low: float
    reason: str | None
    """Why nothing can be said by them; None: they can stand for the rows to come."""

    def to_json(self) -> dict[str, Any]:
        """Returns strict JSON."""
        return {
            "rows": len(self.rows),
            "drawn": int(self.rows.sum()),
            "effective": self.effective,
            "roc_auc": {"value": self.auc, "low": self.low},
            "reason": self.reason,
        }


def drawn_by(
    here: Features, there: Features, judged: Features, *, newer: float = 0.0, seed: int = 0
) -> Drawn:
    """Draws those of ``judged`` [N, F] that are like ``here``.

    ``there`` are rows that ``judged`` are like, but for a share ``newer`` that is like ``here``
    already.
    """
    weights = odds(here, there, judged)
    weights /= newer * weights + (1.0 - newer)
    effective = float(weights.sum() ** 2 / (weights**2).sum())
    drawn = np.random.default_rng(seed).random(len(judged)) < weights / weights.max()
    n = int(drawn.sum())
    if n < FEWEST_ROWS or effective < _LEAST_EFFECTIVE * len(judged):
        why = f"the weights leave {n:,} of {len(judged):,} rows ({effective:,.0f} effective ones)"
        return Drawn(drawn, effective, 1.0, 1.0, why)
    x = np.concatenate([here, judged[drawn]])
    told = tell_apart(x, np.arange(len(x)) < len(here))
    why = f"also rows drawn by weights are told from newer ones (ROC AUC {told.auc:.2f})"
    is_like = told.auc < APART and told.low < SURELY_APART
    return Drawn(drawn, effective, told.auc, told.low, None if is_like else why)


def drawn_for(data: PreparedData) -> tuple[str, dict[str, Drawn]]:
    """Returns what the rows to come are ('test' or 'newest'), and of each part that a promise may
    rest on what is drawn; no parts where the shift check does not take promises back."""
    found: Mapping[str, Any] = (data.overview.get("shift") or {}).get("to_come") or {}
    auc = found.get("roc_auc") or {"value": 0.5, "low": 0.5}
    if not found or auc["value"] < APART or auc["low"] < SURELY_APART:
        return "", {}
    part, newer = str(found["part"]), 0.0
    if part == "newest":
        sides = newest_and_older(data.train)
        if sides is None:
            return part, {}
        (here, there), newer = sides, _NEWEST
    else:
        here, there = (
            some_features(rows, MOST_ROWS // 2, seed)
            for seed, rows in ((1, data.tests[part]), (2, data.train))
        )
    names = [name for name in ("val", CALIBRATION) if name in {"val", *data.tests} - {part}]
    parts = {name: data.val if name == "val" else data.tests[name] for name in names}
    return part, {
        name: drawn_by(here, there, features_of(rows), newer=newer)
        for name, rows in parts.items()
        if len(rows) >= FEWEST_ROWS
    }


def newest_of(rows: Rows, train: Rows) -> npt.NDArray[np.bool_] | None:
    """Says which rows [N] are as new as the newest fifth of the training rows; None: not known."""
    order, all_rows = order_of(rows), order_of(train)
    if order is None or all_rows is None:
        return None
    newest: npt.NDArray[np.bool_] = order > np.quantile(all_rows, 1 - _NEWEST)
    return newest
