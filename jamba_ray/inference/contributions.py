"""Divides the log-odds of a score among the columns: Shapley values (Shapley 1953).

The contributions of a row and the base add up to the log-odds of its score. Boosted trees: exact,
by LightGBM's TreeSHAP (Lundberg et al. 2020); the base is the mean over the training rows. Others:
estimated by sampled orders of the columns (Castro et al. 2009); the base is the score of one
background row, the typical one: the median of each number, the commonest of each category.

Limitations: columns that carry the same information share its contribution; a network scores
mixtures of a row and the typical one, which may be rows that never occur.

Letters: N rows, C columns of the table, F features (a column may have two: value and missing).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from jamba_ray.data import Preprocessor
from jamba_ray.data.column_orders import orders
from jamba_ray.inference.scorer import Estimated, Scorer, Team, Trees

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Matrices = tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]

PAIRS = 8
"""Pairs of sampled orders (an order and its reverse); ``tests/benchmarks/explain.md`` has the error
and the cost of other numbers."""
_ROWS_AT_ONCE = 16_384


@dataclass(frozen=True)
class Contributions:
    """Holds how much each column moves the log-odds of each row away from ``base``."""

    columns: tuple[str, ...]
    values: Floats
    """[N, C]."""
    base: float
    base_is: str
    """What ``base`` is the log-odds of, in words."""

    def strongest(self, k: int) -> Ints:
        """Returns the ``k`` columns (or all) that move each row most, by size: [N, k]."""
        return np.argsort(-np.abs(self.values), axis=1, kind="stable")[:, :k]


def contributions(
    score: Scorer, preprocessing: Preprocessor, rows: Matrices, pairs: int = PAIRS
) -> Contributions:
    """Computes the contributions of ``rows``, each independently of the others."""
    if isinstance(score, Team):
        return _of_team(score, preprocessing, rows, pairs)
    owners = owners_of(preprocessing)
    exact = score.contributions(*rows) if isinstance(score, Trees | Estimated) else None
    if exact is not None:
        of_features, base = exact
        first = len(preprocessing.numeric)
        features = [[*numbers, *(first + j for j in codes)] for numbers, codes in owners]
        values = np.stack([of_features[:, some].sum(axis=1) for some in features], axis=1)
        what = "the average training row"
    else:
        values, base = sampled(score.log_odds, rows, typical_row(preprocessing), owners, pairs)
        what = "a typical training row (medians and commonest categories)"
    return Contributions(preprocessing.columns, values, base, what)


def _of_team(team: Team, preprocessing: Preprocessor, rows: Matrices, pairs: int) -> Contributions:
    """Adds up the members' contributions by their weights: Shapley values are linear in the
    model."""
    found = [contributions(member, preprocessing, rows, pairs) for member in team.members]
    values = np.zeros_like(found[0].values)
    for weight, one in zip(team.weights, found, strict=True):
        values += weight * one.values
    return Contributions(
        preprocessing.columns,
        values,
        sum(w * one.base for w, one in zip(team.weights, found, strict=True)),
        "; ".join(dict.fromkeys(one.base_is for one in found)),
    )


def owners_of(preprocessing: Preprocessor) -> list[tuple[list[int], list[int]]]:
    """Returns the numeric and the categorical features of each column, by position."""
    return [preprocessing.of_columns([name])[:2] for name in preprocessing.columns]


def typical_row(preprocessing: Preprocessor) -> Matrices:
    """Returns the prepared row of medians and commonest categories: [1, F_n] and [1, F_c]."""
    medians = [column(np.array([column.fill]))[0] for column in preprocessing.numeric]
    commonest = np.ones((1, len(preprocessing.categorical)), dtype=np.int64)
    return np.array([medians], dtype=np.float32).reshape(1, -1), commonest


def sampled(
    log_odds: Callable[[npt.NDArray[np.float32], npt.NDArray[np.int64]], Floats],
    rows: Matrices,
    typical: Matrices,
    owners: Sequence[tuple[Sequence[int], Sequence[int]]],
    pairs: int,
) -> tuple[Floats, float]:
    """Estimates Shapley values [N, C] against one background row; also returns its log-odds.

    Columns are set from the background row to the row one after the other; a column's contribution
    is the mean change over orders. Every order's changes add up to the whole difference, so that
    the means do so exactly. With so few columns that there are no more orders, all are taken.
    """
    (x_num, x_cat), (t_num, t_cat) = rows, typical
    n, c = len(x_num), len(owners)
    base = float(log_odds(t_num, t_cat)[0])
    whole = log_odds(x_num, x_cat)
    values = np.zeros((n, c))
    drawn = list(orders(c, pairs))
    size = max(1, _ROWS_AT_ONCE // max(c - 1, 1))
    for order in drawn:
        # [C - 1, F]: whether a feature is already the row's after 1 .. C - 1 columns.
        numbers = np.zeros((c - 1, x_num.shape[1]), dtype=bool)
        codes = np.zeros((c - 1, x_cat.shape[1]), dtype=bool)
        for step, column in enumerate(order[:-1]):
            numbers[step:, owners[column][0]] = True
            codes[step:, owners[column][1]] = True
        for i in range(0, n, size):
            some = slice(i, i + size)
            m = len(whole[some])
            path = np.empty((c + 1, m))
            path[0], path[-1] = base, whole[some]
            if c > 1:
                mixed_num = np.where(numbers[:, None], x_num[some], t_num)
                mixed_cat = np.where(codes[:, None], x_cat[some], t_cat)
                every = (c - 1) * m
                path[1:-1] = log_odds(
                    mixed_num.reshape(every, x_num.shape[1]),
                    mixed_cat.reshape(every, x_cat.shape[1]),
                ).reshape(c - 1, m)
            values[some, list(order)] += np.diff(path, axis=0).T
    return values / len(drawn), base
