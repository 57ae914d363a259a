"""Measures how much worse a model is when a column tells it nothing: permutation importance.

Breiman (2001), Fisher, Rudin & Dominici (2019): a column's cells are replaced by those of rows
drawn at random, and the metric is computed again. Columns that say the same would hide each other,
so that columns whose ranks correlate by at least ``CORRELATED`` (Spearman; all pairs of a group)
are replaced together, from the same row.

The interval (95 %) is a bootstrap over rows and draws, with as many threats and benign rows in each
resample as in the data. It says what this model uses, not what causes threats; several columns are
looked at, without a correction for that.

Letters: N rows, F_n numeric and F_c categorical features, C columns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.cluster.hierarchy import fcluster, linkage  # type: ignore[import-untyped]
from scipy.spatial.distance import squareform  # type: ignore[import-untyped]
from scipy.stats import rankdata  # type: ignore[import-untyped]

from jamba_ray.config.direction import direction_of, lead
from jamba_ray.data.prepared import of_both_classes
from jamba_ray.evaluation.bootstrap import Interval, recount, resamples
from jamba_ray.evaluation.counts import Counts, Floats, Ints, blocks
from jamba_ray.evaluation.metrics import METRICS, undefined

CORRELATED = 0.7
MOST_ROWS, FEWEST_ROWS = 2_000, 200
_FEWEST_OF_TEAM = 500
"""Rows to which a team's members may lower their number."""
_SCORED_ROWS = 80_000
"""Rows scored in all, as long as ``FEWEST_ROWS`` for each group of columns are fewer."""
_REPEATS = 2
_MOST_GROUPS = 400
"""With more groups it would take minutes, and nearly all of them would be within chance."""
_RESAMPLES = 200
_PERCENTILES = (2.5, 97.5)
Score = Callable[[npt.NDArray[np.float32], npt.NDArray[np.int64]], Floats]
Owners = Sequence[tuple[Sequence[int], Sequence[int]]]
"""The numeric and the categorical features of each column, by position."""


@dataclass(frozen=True)
class Importance:
    """Holds the importance of every group of columns."""

    value: float
    """The metric on the rows as they are."""
    rows: int
    groups: tuple[tuple[tuple[int, ...], Interval], ...]
    """(columns, by how much the metric gets worse), the most important first."""


def permutation_importance(
    score: Score,
    x_num: npt.NDArray[np.float32],
    x_cat: npt.NDArray[np.int64],
    y: npt.NDArray[np.float32],
    owners: Owners,
    metric: str,
    threshold: float,
    n_models: int = 1,
) -> Importance | None:
    """Computes the importance on at most ``MOST_ROWS`` of the rows, half of them threats if there
    are as many; they are weighted so that threats are as frequent as in all rows.

    A team of ``n_models`` has fewer rows, so that it takes about as long as one model.

    None: the metric is not defined on the rows, or there are more than 400 groups of columns.
    """
    threat = np.asarray(y) == 1
    if metric in undefined(int(threat.sum()), int((~threat).sum())):
        return None
    index = of_both_classes(threat, MOST_ROWS)
    groups = correlated_groups(x_num[index], x_cat[index], owners)
    if len(groups) > _MOST_GROUPS:
        return None
    n = max(FEWEST_ROWS, _SCORED_ROWS // (_REPEATS * len(groups)))
    n = max(min(n, len(index)) // n_models, min(n, _FEWEST_OF_TEAM))
    if n < len(index):
        index = index[of_both_classes(threat[index], n)]
    rows = _Judged(threat, index, metric, threshold)
    numbers, codes = x_num[index], x_cat[index]
    rng = np.random.default_rng(0)
    base = rows.draws(score(numbers, codes))
    found = []
    for columns in groups:
        of_num = np.array([j for column in columns for j in owners[column][0]], dtype=np.int64)
        of_cat = np.array([j for column in columns for j in owners[column][1]], dtype=np.int64)
        drops = np.empty((_REPEATS, _RESAMPLES + 1))
        for repeat in range(_REPEATS):
            donor = rng.choice(len(index), len(index), p=rows.weight)
            changed_num, changed_cat = numbers.copy(), codes.copy()
            changed_num[:, of_num] = numbers[np.ix_(donor, of_num)]
            changed_cat[:, of_cat] = codes[np.ix_(donor, of_cat)]
            changed = rows.draws(score(changed_num, changed_cat))
            drops[repeat] = [
                lead(a, b, direction_of(metric)) for a, b in zip(base, changed, strict=True)
            ]
        found.append((columns, _interval(drops)))
    ordered = sorted(found, key=lambda one: -one[1]["value"])
    return Importance(float(base[0]), len(index), tuple(ordered))


def correlated_groups(
    x_num: npt.NDArray[np.float32], x_cat: npt.NDArray[np.int64], owners: Owners
) -> list[tuple[int, ...]]:
    """Returns the columns in groups of which all pairs correlate by at least ``CORRELATED``.

    A column of categories counts by its codes, which are in the order of frequency: a copy under
    other names is found.
    """
    if len(owners) < 2:
        return [tuple(range(len(owners)))]
    cells = [x_num[:, num[0]] if num else x_cat[:, cat[0]] for num, cat in owners]
    ranks = rankdata(np.stack(cells), axis=1)
    ranks -= ranks.mean(axis=1, keepdims=True)
    spread = np.sqrt((ranks**2).sum(axis=1, keepdims=True))
    ranks /= np.where(spread > 0, spread, 1.0)
    distance = np.clip(1.0 - np.abs(ranks @ ranks.T), 0.0, 1.0)
    np.fill_diagonal(distance, 0.0)
    tree = linkage(squareform(distance, checks=False), "complete")
    labels = fcluster(tree, 1.0 - CORRELATED, criterion="distance")
    groups: dict[int, list[int]] = {}
    for column, label in enumerate(labels.tolist()):
        groups.setdefault(label, []).append(column)
    return [tuple(columns) for columns in groups.values()]


class _Judged:
    """Computes the metric of sampled rows, and of the same resamples of them for every model."""

    def __init__(
        self, threat: npt.NDArray[np.bool_], index: Ints, metric: str, threshold: float
    ) -> None:
        self._labels = threat[index]
        self._metric, self._threshold = METRICS[metric], threshold
        of_threats = threat.sum() / max(1, self._labels.sum())
        of_benign = (~threat).sum() / max(1, (~self._labels).sum())
        self._weights = float(of_threats), float(of_benign)
        weight = np.where(self._labels, of_threats, of_benign)
        self.weight = weight / weight.sum()
        """[N], the probability to draw each row, so that classes are as frequent as in all."""

    def draws(self, p: Floats) -> Floats:
        """Returns the metric on the rows and on each resample: [1 + resamples]."""
        counts, block = blocks(self._labels, p)
        values = [self._value(counts)]
        for threats, benign in resamples(self._labels, _RESAMPLES, 0):
            values.append(self._value(recount(counts, block, threats, benign)))
        return np.array(values)

    def _value(self, counts: Counts) -> float:
        of_threats, of_benign = self._weights
        weighted = replace(
            counts, threats=counts.threats * of_threats, benign=counts.benign * of_benign
        )
        return self._metric.compute(weighted, self._threshold)


def _interval(drops: Floats) -> Interval:
    """Returns the mean drop over repeats; each resample counts with one of the repeats."""
    value = float(drops[:, 0].mean())
    which = np.arange(_RESAMPLES) % _REPEATS
    low, high = np.percentile(drops[which, 1 + np.arange(_RESAMPLES)], _PERCENTILES)
    return Interval(value=value, low=min(float(low), value), high=max(float(high), value))
