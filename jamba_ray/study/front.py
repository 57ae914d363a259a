"""Compares trials by several objectives: fronts, crowding, hypervolume, and one pick of a front.

Letters: N trials, M objectives. All functions take points [N, M] of which less is better in each
objective (``as_losses``).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from jamba_ray.config.direction import badness

Points = npt.NDArray[np.float64]


def as_losses(values: Sequence[Sequence[float]], directions: Sequence[str]) -> Points:
    """Returns points of which less is better in each objective."""
    signs = [badness(1.0, direction) for direction in directions]
    return np.asarray(values, dtype=np.float64).reshape(-1, len(directions)) * signs


def ranks(points: Points) -> npt.NDArray[np.int64]:
    """Returns the number of the front that each point is on: 0 is dominated by none, 1 by points of
    front 0 alone, and so on (Deb et al. 2002)."""
    no_worse: npt.NDArray[np.bool_] = np.asarray(
        (points[:, None, :] <= points[None, :, :]).all(axis=2)
    )
    dominates = no_worse & ~no_worse.T
    rank = np.full(len(points), -1, dtype=np.int64)
    n_above = dominates.sum(axis=0)
    front = 0
    while (left := rank < 0).any():
        on = left & (n_above == 0)
        rank[on] = front
        n_above = n_above - dominates[on].sum(axis=0)
        n_above[on] = len(points)
        front += 1
    return rank


def crowding(points: Points) -> npt.NDArray[np.float64]:
    """Returns how far each point's neighbours are, summed over objectives as shares of their range;
    infinite at the ends (Deb et al. 2002)."""
    n, m = points.shape
    distance = np.zeros(n)
    for j in range(m):
        order = np.argsort(points[:, j], kind="stable")
        ordered = points[order, j]
        distance[order[[0, -1]]] = np.inf
        if (span := ordered[-1] - ordered[0]) > 0.0:
            distance[order[1:-1]] += (ordered[2:] - ordered[:-2]) / span
    return distance


def n_ahead(point: Points, others: Points) -> int:
    """Counts the ``others`` [N, M] that are ahead of a ``point`` [M]: on a front before its own, or
    on its own where their neighbours are farther away."""
    points = np.vstack([others, point])
    rank = ranks(points)
    own = np.flatnonzero(rank == rank[-1])
    apart = crowding(points[own])
    return int((rank < rank[-1]).sum() + (apart[:-1] > apart[-1]).sum())


def hypervolume(points: Points, reference: Points) -> float:
    """Returns the volume that ``points`` dominate up to a ``reference`` [M]."""
    inside = points[(points < reference).all(axis=1)]
    if not len(inside):
        return 0.0
    inside = inside[ranks(inside) == 0]
    inside = inside[np.argsort(inside[:, 0], kind="stable")]
    if points.shape[1] == 1:
        return float(reference[0] - inside[0, 0])
    # Slices along the first objective: each holds the points that begin before it.
    edges = np.append(inside[:, 0], reference[0])
    return sum(
        float(edges[i + 1] - edges[i]) * hypervolume(inside[: i + 1, 1:], reference[1:])
        for i in range(len(inside))
        if edges[i + 1] > edges[i]
    )


def pick(points: Points, rule: float | str) -> int:
    """Returns the index of the point of a front that a ``rule`` picks (see ``SweepConfig.pick``).

    Of equal points the first.
    """
    if rule == "knee":
        low, high = points.min(axis=0), points.max(axis=0)
        shares = (points - low) / np.where(high > low, high - low, 1.0)
        return int(np.argmin((shares**2).sum(axis=1)))
    near = np.flatnonzero(points[:, 0] <= points[:, 0].min() + float(rule))
    later = points[near][:, [*range(1, points.shape[1]), 0]]
    return int(near[np.lexsort(later.T[::-1])[0]])
