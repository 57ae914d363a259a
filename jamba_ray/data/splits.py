"""Decides which rows train, validate and test: pure functions from labels, times and groups to
indices.

Each function divides rows 0 .. N-1 in two, ``(kept, held)``, both ascending and disjoint; together
they are all rows. ``prepare`` calls them twice, for the test rows and then for the validation rows.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from jamba_ray.errors import DataError

Indices: TypeAlias = npt.NDArray[np.int64]
Labels: TypeAlias = npt.NDArray[np.float32]
Counts: TypeAlias = npt.NDArray[np.float64]


def by_chance(y: Labels, share: float, seed: int) -> tuple[Indices, Indices]:
    """Holds out ``share`` of the rows of each label, drawn by ``seed``."""
    rng = np.random.default_rng(seed)
    held = np.zeros(len(y), dtype=bool)
    for label in (0.0, 1.0):
        rows = np.flatnonzero(y == label)
        held[rng.permutation(rows)[: _count(share, len(rows))]] = True
    return _both(held)


def by_time(time: npt.NDArray[Any], share: float) -> tuple[Indices, Indices]:
    """Holds out the newest ``share`` of the rows; rows of one instant stay together.

    Raises DataError where all rows are of one instant.
    """
    instants, sizes = np.unique(time, return_counts=True)
    if len(instants) < 2:
        raise DataError(
            "a split by time needs at least two different timestamps, but all "
            f"{len(time)} rows have the same; use data.split.kind=random."
        )
    newer = np.cumsum(sizes[::-1])[::-1][1:]  # rows at or after each instant but the oldest
    first = instants[1:][np.argmin(np.abs(newer - share * len(time)))]
    return _both(time >= first)


def by_group(
    group: npt.NDArray[np.str_],
    y: Labels,
    share: float,
    seed: int,
    *,
    holdout: Collection[str] = (),
    never: Collection[str] = (),
) -> tuple[Indices, Indices]:
    """Holds out whole groups: those of ``holdout``, or a draw that comes near ``share`` of each
    label.

    A group never straddles, with one exception: the *background*, a group of benign rows alone that
    holds more than half of all benign rows (``normal`` beside attack classes), is divided by
    chance, since held whole it would leave one part without benign rows. Hosts that were never
    attacked are no background and stay whole. Groups in ``never`` are not drawn.

    Raises DataError for a group of ``holdout`` that does not exist, or where fewer than two groups
    have threats.
    """
    names, member = np.unique(group, return_inverse=True)
    threats: Counts = np.bincount(member, y, len(names)).astype(np.float64)
    benign: Counts = np.bincount(member, 1.0 - y, len(names)).astype(np.float64)
    unknown = sorted(set(holdout) - set(names.tolist()))
    if unknown:
        raise DataError(
            f"data.split.holdout must name groups of the data, but {', '.join(unknown)} is none; "
            f"the groups are {_listed(names)}."
        )
    if (threats > 0).sum() < 2:
        raise DataError(
            "a split by group needs threats in at least two groups, but only "
            f"{int((threats > 0).sum())} of {len(names)} groups has any; "
            "use data.split.kind=random."
        )
    background = (threats == 0) & (2 * benign > benign.sum()) & ~np.isin(names, list(holdout))
    if holdout:
        chosen = np.isin(names, list(holdout))
    else:
        drawable = ~background & ~np.isin(names, list(never))
        chosen = _draw(threats, np.where(background, 0.0, benign), drawable, share, seed)
    held = chosen[member]
    for i in np.flatnonzero(background):
        rows = np.flatnonzero(member == i)
        drawn = np.random.default_rng([seed, 1]).permutation(rows)
        held[drawn[: _count(share, len(rows))]] = True
    return _both(held)


def _draw(
    threats: Counts,
    benign: Counts,
    drawable: npt.NDArray[np.bool_],
    share: float,
    seed: int,
) -> npt.NDArray[np.bool_]:
    """Draws groups in a random order, and takes each that brings both labels nearer to
    ``share``."""

    def miss(taken: npt.NDArray[np.bool_]) -> float:
        return sum(
            abs(float(rows[taken].sum()) / total - share)
            for rows in (threats, benign)
            if (total := float(rows.sum())) > 0
        )

    taken = np.zeros(len(threats), dtype=bool)
    for i in np.random.default_rng([seed, 0]).permutation(np.flatnonzero(drawable)):
        more = taken.copy()
        more[i] = True
        if miss(more) < miss(taken):
            taken = more
    if not threats[taken].any():  # every group with threats overshoots: the smallest does so least
        candidates = np.flatnonzero(drawable & (threats > 0))
        if len(candidates):
            taken[candidates[np.argmin(threats[candidates])]] = True
    return taken


def _count(share: float, n: int) -> int:
    """Counts the rows to hold out of ``n``: at least one, and never all, where there are two."""
    return min(max(round(share * n), 1), n - 1) if n > 1 and share > 0 else 0


def _both(held: npt.NDArray[np.bool_]) -> tuple[Indices, Indices]:
    return np.flatnonzero(~held), np.flatnonzero(held)


def _listed(names: npt.NDArray[np.str_], at_most: int = 12) -> str:
    more = f" and {len(names) - at_most} more" if len(names) > at_most else ""
    return ", ".join(names[:at_most].tolist()) + more
