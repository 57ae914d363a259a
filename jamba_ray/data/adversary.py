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
_BLOCK_ROWS, _MOST_BLOCKS = 25, 200
"""Rows of a block, and blocks of a side: neighbours are often alike, those of 25 rows on seldom."""
_ROUNDS = 40
_SURE = 1e-3
"""Nearer to 0 and to 1 no probability counts, so that no row has all the weight."""
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
    """Its 95 % interval, of blocks of rows that follow each other."""
    gains: npt.NDArray[np.float64]
    """[F], the share of each feature in what was gained."""


def tell_apart(x: Features, side: Side) -> Told:
    """Fits trees to two thirds of the rows x [N, F] and scores the other third, three times.

    The rows of each side come in their order: blocks of neighbours, which may be alike, are in one
    fold, and so are rows with the same features, so that none is recognised from memory.
    """
    import lightgbm  # half a second that those who ask for no check need not pay

    block = _blocks(side)
    _, first, again = np.unique(row_keys(x), return_index=True, return_inverse=True)
    block = block[first[again]]
    fold = mixed(block.astype(np.uint64), 0) % np.uint64(FOLDS)
    scores = np.zeros(len(x))
    gains = np.zeros(x.shape[1])
    for k in range(FOLDS):
        held = fold == k
        if not held.any() or len(np.unique(side[~held])) < 2:
            continue
        trees = lightgbm.train(
            dict(_PARAMS), lightgbm.Dataset(x[~held], side[~held]), num_boost_round=_ROUNDS
        )
        scores[held] = trees.predict(x[held], num_threads=1)
        gains += trees.feature_importance("gain")
    value, spread = auc(scores, side), _spread(scores, side, block)
    total = gains.sum()
    return Told(
        value,
        max(value - 1.96 * spread, 0.0),
        min(value + 1.96 * spread, 1.0),
        gains / total if total > 0 else gains,
    )


def odds(here: Features, there: Features, judged: Features) -> npt.NDArray[np.float64]:
    """Returns how many times more often rows like ``judged`` [M, F] come in ``here`` than in
    ``there`` (importance weights, Sugiyama et al. 2012).

    ``judged`` are others than those that are compared.
    """
    import lightgbm

    x = np.concatenate([here, there])
    side = np.arange(len(x)) < len(here)
    trees = lightgbm.train(dict(_PARAMS), lightgbm.Dataset(x, side), num_boost_round=_ROUNDS)
    p = np.clip(trees.predict(judged, num_threads=1), _SURE, 1.0 - _SURE)
    found: npt.NDArray[np.float64] = p / (1.0 - p) * (len(there) / len(here))
    return found


def _blocks(side: Side) -> npt.NDArray[np.int64]:
    """Returns the block of each row [N], of its own side alone."""
    block = np.zeros(len(side), dtype=np.int64)
    for i, rows in enumerate((np.flatnonzero(side), np.flatnonzero(~side))):
        n_blocks = min(max(len(rows) // _BLOCK_ROWS, 2 * FOLDS), _MOST_BLOCKS)
        block[rows] = np.arange(len(rows)) * n_blocks // max(len(rows), 1) + i * _MOST_BLOCKS
    return block


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


def _spread(scores: npt.NDArray[np.float64], side: Side, block: npt.NDArray[np.int64]) -> float:
    """Returns the standard error of the AUC, of blocks (DeLong et al. 1988, summed by block)."""
    n, m = int(side.sum()), int((~side).sum())
    if not n or not m:
        return 0.0
    variance = 0.0
    all_ranks = rankdata(scores)
    for rows, others in ((side, m), (~side, n)):
        # The share of the other side that a row scores above.
        above = (all_ranks[rows] - rankdata(scores[rows])) / others
        off = np.bincount(block[rows], above - above.mean())
        blocks = int(np.count_nonzero(np.bincount(block[rows])))
        variance += float((off**2).sum()) / int(rows.sum()) ** 2 * blocks / max(blocks - 1, 1)
    return math.sqrt(variance)
