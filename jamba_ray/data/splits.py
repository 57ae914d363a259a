"""Decides which rows train, validate and test: pure functions from labels, times and groups to
indices.

Each function divides rows 0 .. N-1 in two, ``(kept, held)``, both ascending and disjoint; together
they are all rows. ``prepare`` calls them twice, for the test rows and then for the validation rows.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from jamba_ray.config.data import SplitSection
from jamba_ray.errors import DataError

Indices: TypeAlias = npt.NDArray[np.int64]
Labels: TypeAlias = npt.NDArray[np.float32]
Hashes: TypeAlias = npt.NDArray[np.uint64]
"""[N], equal for rows with the same features."""
FEWEST_GROUPS = 3
"""Groups with threats that ``auto`` asks for: one each to train, to validate and to test."""
Counts: TypeAlias = npt.NDArray[np.float64]


def by_chance(
    y: Labels, share: float, seed: int, same: Hashes | None = None
) -> tuple[Indices, Indices]:
    """Holds out ``share`` of the rows of each label, drawn by ``seed``.

    Rows of equal ``same`` [N] stay together, except those of a label that has no two different
    rows: held whole, they would leave one part without it. Where all rows differ, the result is the
    one without ``same``.
    """
    rng = np.random.default_rng(seed)
    unit, first, sizes, threat = units_of(y, same)
    chosen = np.zeros(len(first), dtype=bool)
    divided = np.zeros(len(y), dtype=bool)
    for label in (False, True):
        units = np.flatnonzero(threat == label)
        if len(units) > 1:
            chosen[_near(rng.permutation(units), sizes, share)] = True
        elif len(units):
            rows = np.flatnonzero(unit == units[0])
            divided[rng.permutation(rows)[: _count(share, len(rows))]] = True
    return _both(chosen[unit] | divided)


def units_of(
    y: Labels, same: Hashes | None
) -> tuple[Indices, Indices, Indices, npt.NDArray[np.bool_]]:
    """Returns the unit of each row [N], and by unit [U], in the order of the rows: its first row,
    its size, and whether most of its rows are threats."""
    rows = np.arange(len(y))
    if same is None:
        return rows, rows, np.ones(len(y), dtype=np.int64), y == 1
    _, first, unit, sizes = np.unique(
        same, return_index=True, return_inverse=True, return_counts=True
    )
    if len(first) == len(y):
        return rows, rows, np.ones(len(y), dtype=np.int64), y == 1
    order = np.argsort(first)
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    unit = place[unit]
    threats = np.bincount(unit, y, len(first))
    return unit, first[order], sizes[order], 2 * threats >= sizes[order]


def _near(units: Indices, sizes: Indices, share: float) -> Indices:
    """Returns the first units of a random order that come next to ``share`` of the rows.

    Those that alone are larger than that stay behind; at least one is taken, and one is left.
    """
    wanted = _count(share, int(sizes[units].sum()))
    small = units[sizes[units] <= max(wanted, 1)]
    if not len(small):
        return units[[int(np.argmin(sizes[units]))]]
    total = np.cumsum(sizes[small])
    taken = int(np.argmin(np.abs(total - wanted))) + 1
    return small[: min(taken, len(units) - 1)] if wanted else small[:0]


def repeated(kept: Hashes, held: Hashes) -> npt.NDArray[np.bool_]:
    """Says which of the held rows [N] repeat a kept one."""
    return np.isin(held, kept)


def chosen_kind(
    split: SplitSection,
    time: npt.NDArray[Any] | None,
    group: npt.NDArray[np.str_] | None,
    y: Labels,
) -> tuple[Literal["random", "time", "group"], str]:
    """Chooses the split that looks most like the field, for ``auto``, and says why.

    Newer rows come before new groups: they also bring new hosts and attacks.
    """
    if split.kind != "auto":
        return split.kind, ""
    start, tests = "data.split.kind=auto divides", "validation" if not split.test else "test"
    why = "no timestamp and no group is named (data.timestamp=, data.group=)"
    if time is not None:
        if len(time) and time.min() < time.max():
            why = f"there is a timestamp: the oldest rows train and the newest are {tests} rows"
            return "time", f"{start} by time, since {why}, as in the field."
        why = "all rows have the same timestamp"
    if group is not None:
        attacked = len(np.unique(group[y == 1]))
        if attacked >= FEWEST_GROUPS:
            why = "there is a group: whole groups are held out, as new ones come in the field"
            return "group", f"{start} by group, since {why}."
        why = f"only {attacked} groups have threats, and a split by group needs {FEWEST_GROUPS}"
    return "random", f"{start} by chance, since {why}."


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
    same: Hashes | None = None,
) -> tuple[Indices, Indices]:
    """Holds out whole groups: those of ``holdout``, or a draw that comes near ``share`` of each
    label.

    A group never straddles, with one exception: the *background*, a group of benign rows alone that
    holds more than half of all benign rows (``normal`` beside attack classes), is divided by
    chance, since held whole it would leave one part without benign rows. Hosts that were never
    attacked are no background and stay whole. Groups in ``never`` are not drawn. Rows of the
    background with equal ``same`` [N] stay together.

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
        unit, _, sizes, _ = units_of(y[rows], None if same is None else same[rows])
        if len(sizes) < 2:
            unit, sizes = np.arange(len(rows)), np.ones(len(rows), dtype=np.int64)
        drawn = np.random.default_rng([seed, 1]).permutation(len(sizes))
        held[rows] = np.isin(unit, _near(drawn, sizes, share))
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
