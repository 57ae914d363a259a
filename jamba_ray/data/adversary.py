"""Tells two sets of rows apart with LightGBM, on rows that it was not fitted to (adversarial
validation).

Letters: N rows, F features.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata  # type: ignore[import-untyped]

Features: TypeAlias = npt.NDArray[np.float32]
Side: TypeAlias = npt.NDArray[np.bool_]

FOLDS = 3
_ROUNDS = 40
_PARAMS = {
    "objective": "binary",
    "num_leaves": 15,
    "learning_rate": 0.1,
    "min_data_in_leaf": 20,
    "feature_fraction": 0.8,
    "seed": 0,
    "deterministic": True,
    "force_row_wise": True,
    "num_threads": 1,
    "verbosity": -1,
}
"""Small trees: they are to notice what stands out, and cost a second on 20,000 rows."""


@dataclass(frozen=True)
class Told:
    """Says how well two sets of rows are told apart; 0.5 is chance."""

    auc: float
    """ROC AUC on rows that were not fitted."""
    low: float
    high: float
    """Its 95 % interval (Hanley and McNeil 1982), of different rows alone."""
    gains: npt.NDArray[np.float64]
    """[F], the share of each feature in what was gained."""


def tell_apart(x: Features, side: Side) -> Told:
    """Fits trees to two thirds of the rows x [N, F] and scores the other third, three times.

    Rows with the same features are in one fold, so that none is recognised from memory.
    """
    import lightgbm  # half a second that those who ask for no check need not pay

    key = row_keys(x)
    fold = (key >> np.uint64(17)) % np.uint64(FOLDS)
    scores = np.zeros(len(x))
    gains = np.zeros(x.shape[1])
    for k in range(FOLDS):
        held = fold == k
        if not held.any() or len(np.unique(side[~held])) < 2:
            continue
        trees = lightgbm.train(
            dict(_PARAMS), lightgbm.Dataset(x[~held], side[~held]), num_boost_round=_ROUNDS
        )
        scores[held] = rankdata(trees.predict(x[held], num_threads=1)) / held.sum()
        gains += trees.feature_importance("gain")
    value = auc(scores, side)
    spread = _spread(value, len(np.unique(key[side])), len(np.unique(key[~side])))
    total = gains.sum()
    return Told(
        value,
        max(value - 1.96 * spread, 0.0),
        min(value + 1.96 * spread, 1.0),
        gains / total if total > 0 else gains,
    )


def auc(scores: npt.NDArray[np.float64], side: Side) -> float:
    """Computes the probability that a row of ``side`` scores above one of the others."""
    n, m = int(side.sum()), int((~side).sum())
    ranks = rankdata(scores)
    return float((ranks[side].sum() - n * (n + 1) / 2) / (n * m)) if n and m else 0.5


def row_keys(x: Features) -> npt.NDArray[np.uint64]:
    """Returns keys [N] that are equal for equal rows."""
    keys = np.zeros(len(x), dtype=np.uint64)
    for j in range(x.shape[1]):
        keys ^= mixed(np.ascontiguousarray(x[:, j]).view(np.uint32).astype(np.uint64), j)
    return keys


def mixed(values: npt.NDArray[np.uint64], salt: int) -> npt.NDArray[np.uint64]:
    """Returns the integers with their bits mixed (SplitMix64), for each ``salt`` otherwise."""
    z = values + np.uint64((salt + 1) * 0x9E3779B97F4A7C15 % 2**64)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def _spread(value: float, n: int, m: int) -> float:
    """Returns the standard error of an AUC of n against m rows."""
    a = min(max(value, 0.5), 1.0)
    q1, q2 = a / (2 - a), 2 * a * a / (1 + a)
    variance = a * (1 - a) + (n - 1) * (q1 - a * a) + (m - 1) * (q2 - a * a)
    return math.sqrt(max(variance, 0.0) / max(n * m, 1))
