"""Estimates what a team gains over the best single model on rows that did not choose the team.

Choosing among many teams on the rows that judge them flatters the team, the more so the fewer rows
there are. So validation rows are divided in two halves: the team chosen on one is judged on the
other, both ways (cross-fitting), and the gain is the mean of the two differences. The single model
was chosen on all of them, which flatters it alone: a team is accepted a little too seldom.

Rows that belong together (the same features, a group, neighbours in time) are in one half, as they
were on one side of the split. Its interval is a bootstrap over rows, or over groups where whole
groups were held out (cluster bootstrap; Field & Welsh 2007).
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import expit  # type: ignore[import-untyped]

from jamba_ray.config.direction import direction_of, lead
from jamba_ray.evaluation.bootstrap import ENOUGH, Difference, n_resamples, reweighted
from jamba_ray.evaluation.counts import Floats, Ints, blocks
from jamba_ray.evaluation.objective import objective_of

Bools = npt.NDArray[np.bool_]
Choose = Callable[[Bools, Floats], Floats]
"""(labels [n], log-odds [K, n]) -> weights [K]."""
FEWEST_GROUPS = 5
"""Groups of a label in each half below which its rows are drawn and not its groups."""
_PERCENTILES = (2.5, 97.5)
_RESAMPLES = 500
"""Most resamples of a half, which take most of the time to seek a team."""


@dataclass(frozen=True)
class Halves:
    """Says which half a row is in and what is drawn in a resample."""

    second: Bools
    """[N]."""
    unit: Ints
    """[N], the number of the group that is drawn as a whole; each row its own where rows are."""


def by_content(labels: Bools, content: npt.NDArray[np.uint8]) -> Halves:
    """Divides rows by a digest of ``content`` [N, bytes], within each label: equal rows stay
    together."""
    digests = np.array([zlib.crc32(row.tobytes()) for row in content], dtype=np.int64)
    second = np.zeros(len(labels), dtype=bool)
    for label in (False, True):
        rows = np.flatnonzero(labels == label)
        _, place = np.unique(digests[rows], return_inverse=True)
        second[rows] = place % 2 == 1
    return Halves(second, np.arange(len(labels)))


def by_time(labels: Bools, time: npt.NDArray[Any]) -> Halves:
    """Divides the rows of each label at their median time; rows of one instant stay together."""
    second = np.zeros(len(labels), dtype=bool)
    for label in (False, True):
        rows = np.flatnonzero(labels == label)
        if len(rows):
            second[rows] = time[rows] > np.sort(time[rows])[(len(rows) - 1) // 2]
    return Halves(second, np.arange(len(labels)))


def by_group(labels: Bools, group: npt.NDArray[Any]) -> Halves:
    """Divides whole groups, the largest first, so that both halves have as many rows of each
    label; those of a label with too few groups are divided row by row."""
    names, unit = np.unique(group.astype(str), return_inverse=True)
    second = np.zeros(len(labels), dtype=bool)
    counts = np.stack(
        [np.bincount(unit[labels == label], minlength=len(names)) for label in (0, 1)]
    )
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    held = np.zeros((2, 2))
    side = np.zeros(len(names), dtype=bool)
    for one in sorted(range(len(names)), key=lambda i: (-share[:, i].max(), str(names[i]))):
        rarer = int(share[1, one] >= share[0, one])
        side[one] = held[1, rarer] < held[0, rarer]
        held[int(side[one])] += share[:, one]
    second = side[unit]
    units = unit.astype(np.int64)
    for label in (False, True):
        rows = np.flatnonzero(labels == label)
        groups = np.unique(unit[rows])
        if min(np.count_nonzero(side[groups]), np.count_nonzero(~side[groups])) < FEWEST_GROUPS:
            second[rows] = np.arange(len(rows)) % 2 == 1
            units[rows] = len(names) + rows
    return Halves(second, units)


def few_rows(labels: Bools, halves: Halves) -> str | None:
    """Returns why the halves can judge nothing; None: they can."""
    for half in (halves.second, ~halves.second):
        for name, n in (("threats", labels[half].sum()), ("benign rows", (~labels[half]).sum())):
            if n < ENOUGH // 2:
                return f"a half of the validation rows has only {n} {name}"
    return None


def crossed_gain(
    labels: Bools,
    log_odds: Floats,
    single: int,
    halves: Halves,
    choose: Choose,
    objective: str,
    seed: int = 0,
) -> Difference:
    """Returns the gain of teams over model ``single`` with its 95 % interval; above 0 is better.

    Both halves must have rows of both labels (``few_rows``).
    """
    direction = direction_of(objective)
    values, draws = [], []
    n = min(_RESAMPLES, n_resamples(2 * len(labels)))
    for i, judged in enumerate((halves.second, ~halves.second)):
        weights = choose(labels[~judged], log_odds[:, ~judged])
        y = labels[judged]
        own = expit(log_odds[single][judged])
        # The same code path for both, so that a team of the single model alone gains exactly 0.
        alone = np.eye(len(log_odds))[single]
        team = own if np.array_equal(weights, alone) else expit(weights @ log_odds[:, judged])
        models = [blocks(y, team), blocks(y, own)]
        a, b = (objective_of(counts, objective) for counts, _ in models)
        values.append(lead(a, b, direction))
        found = np.empty(n)
        for j, times in enumerate(resample_units(y, halves.unit[judged], n, seed + i)):
            of = [objective_of(reweighted(*model, y, times), objective) for model in models]
            found[j] = lead(of[0], of[1], direction)
        draws.append(found)
    low, high = np.percentile(np.mean(draws, axis=0), _PERCENTILES)
    return Difference(
        value=float(np.mean(values)),
        low=float(low),
        high=float(high),
        excludes_zero=bool(low > 0 or high < 0),
        too_few=None,
    )


def resample_units(labels: Bools, unit: Ints, n: int, seed: int) -> Iterator[Ints]:
    """Draws how often each row [N] is in a resample; units are drawn within each label."""
    rng = np.random.default_rng(seed)
    strata = []
    for label in (False, True):
        rows = np.flatnonzero(labels == label)
        names, place = np.unique(unit[rows], return_inverse=True)
        strata.append((rows, place, len(names)))
    for _ in range(n):
        times = np.zeros(len(labels), dtype=np.int64)
        for rows, place, m in strata:
            times[rows] = np.bincount(rng.integers(0, m, m), minlength=m)[place]
        yield times
