"""Draws whole groups (hosts, sessions, days) where rows of a group say the same: cluster bootstrap.

Rows of one host are alike, so that a thousand of them tell less than a thousand hosts would.
Resamples of rows vary too little then; resamples of groups vary as another draw of groups would
(Davison & Hinkley 1997, ch. 3.8; Field & Welsh 2007).

Groups of threats alone, of benign rows alone and of both are drawn separately, so that every
resample has both labels. Rows are drawn where a kind has one group, and in the background: the
group that holds most benign rows but not most threats (``normal`` beside attack classes).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from jamba_ray.evaluation.counts import Ints

Bools = npt.NDArray[np.bool_]
ENOUGH_GROUPS = 5
"""Groups with rows of the rarer label below which models are not told apart."""


@dataclass(frozen=True)
class Clusters:
    """Says what is drawn as a whole in a resample."""

    unit: Ints
    """[N], the number of the group that each row is in; a row that is drawn alone has its own."""
    strata: tuple[Ints, ...]
    """The units of each kind, drawn among themselves."""
    groups: int
    """Groups that are drawn whole."""
    fewest: int
    """Of these, those with rows of the label that fewer of them have."""
    effective: float
    """As many groups of one size would vary as much: (sum of sizes)^2 / sum of squares, of the
    label where that is less."""


def clusters_of(labels: Bools, group: npt.ArrayLike) -> Clusters | None:
    """Returns how rows with ``labels`` [N] and the names ``group`` [N] are drawn.

    None: there are not two groups of a kind, so that rows are drawn.
    """
    names, unit = np.unique(np.asarray(group).astype(str), return_inverse=True)
    unit = unit.astype(np.int64)
    threats = np.bincount(unit[labels], minlength=len(names))
    benign = np.bincount(unit[~labels], minlength=len(names))
    background = (2 * benign > benign.sum()) & (2 * threats <= threats.sum())
    kind = np.where(benign == 0, 0, np.where(threats == 0, 1, 2))
    sizes = np.bincount(kind[~background], minlength=3)
    whole = ~background & (sizes[kind] > 1)
    if not whole.any():
        return None
    counted = [c for counts in (threats, benign) if len(c := counts[~background & (counts > 0)])]
    rows = np.flatnonzero(~whole[unit])
    unit[rows] = len(names) + rows
    strata = [np.flatnonzero(whole & (kind == k)) for k in range(3)]
    strata += [unit[rows[labels[rows] == label]] for label in (True, False)]
    return Clusters(
        unit=unit,
        strata=tuple(s.astype(np.int64) for s in strata if len(s)),
        groups=int(whole.sum()),
        fewest=min(len(c) for c in counted),
        effective=min(float(c.sum() ** 2 / (c.astype(float) ** 2).sum()) for c in counted),
    )


def cluster_resamples(clusters: Clusters, n: int, seed: int) -> Iterator[Ints]:
    """Draws how often each row [N] is in a resample, ``n`` times."""
    rng = np.random.default_rng(seed)
    times = np.zeros(int(clusters.unit.max()) + 1, dtype=np.int64)
    for _ in range(n):
        for units in clusters.strata:
            m = len(units)
            times[units] = np.bincount(rng.integers(0, m, m), minlength=m)
        yield times[clusters.unit]
