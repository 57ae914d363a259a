"""Divides training rows into folds for cross-validation, as the table was divided.

By chance each fold has the same share of threats, and rows with the same features are in one fold;
by group whole groups are; by time each fold trains on what came before it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from jamba_ray.config.cv import CvSection
from jamba_ray.config.data import SplitSection
from jamba_ray.data.parts import Parts, Source, new_rows
from jamba_ray.data.splits import Hashes, Indices, Labels, units_of
from jamba_ray.errors import DataError

Fold = tuple[Indices, Indices]
"""(rows that train, rows that are held out), both ascending."""
_SEED = 0xC5
"""Apart from the seeds of the split into train, validation and test."""


def divide_folds(parts: Parts, cv: CvSection, split: SplitSection) -> list[Parts]:
    """Returns the training rows divided into ``cv.folds`` folds, ``cv.repeats`` times.

    Raises:
        DataError: The rows cannot be divided into so many.
    """
    if not cv.folds:
        return []
    train = parts.train
    if parts.kind == "time" and train.time is not None:
        if cv.repeats > 1:
            raise DataError(
                f"cv.repeats must be 1 where rows are divided by time, but is {cv.repeats}: "
                "their order has one division. Drop it, or raise cv.folds."
            )
        folds = by_time(train.time, cv.folds)
    else:
        folds = []
        for repeat in range(cv.repeats):
            seed = [split.seed % 2**32, repeat, _SEED]
            same = train.same if split.repeats == "together" else None
            if parts.kind == "group" and train.group is not None:
                folds += by_group(train.group, train.y, cv.folds, seed, same)
            else:
                folds += by_chance(train.y, cv.folds, seed, same)
    found = []
    for i, (kept, held) in enumerate(folds, start=1):
        mine = Parts(train.take(kept), train.take(held), kind=parts.kind)
        if split.repeats == "leave_out":
            mine = Parts(mine.train, new_rows(mine.train, mine.val), kind=parts.kind)
        _check_labels(mine, i, len(folds))
        found.append(mine)
    return found


def by_chance(y: Labels, n: int, seed: list[int], same: Hashes | None = None) -> list[Fold]:
    """Divides rows by chance into ``n`` folds with the same share of threats.

    Rows of equal ``same`` [N] are in one fold.
    """
    rng = np.random.default_rng(seed)
    unit, _, sizes, threat = units_of(y, same)
    fold_of_unit = np.zeros(len(sizes), dtype=np.int64)
    for label in (True, False):
        units = rng.permutation(np.flatnonzero(threat == label))
        fold_of_unit[units] = _dealt(sizes[units], n, start=0 if label else n - 1)
    return _of(fold_of_unit[unit], n)


def by_group(
    group: npt.NDArray[np.str_], y: Labels, n: int, seed: list[int], same: Hashes | None = None
) -> list[Fold]:
    """Divides whole groups into ``n`` folds with nearly the same numbers of threats and benign
    rows.

    The background (see ``splits.by_group``) is divided by chance.

    Raises DataError where fewer than ``n`` groups have threats.
    """
    rng = np.random.default_rng(seed)
    names, member = np.unique(group, return_inverse=True)
    threats = np.bincount(member, y, len(names))
    benign = np.bincount(member, 1.0 - y, len(names))
    attacked = int((threats > 0).sum())
    if attacked < n:
        raise DataError(
            f"cv.folds must be at most {attacked} here, the groups that have threats, but is {n}: "
            "whole groups are held out. Lower cv.folds, or use data.split.kind=random."
        )
    background = (threats == 0) & (2 * benign > benign.sum())
    share = threats / max(threats.sum(), 1.0) + benign / max(benign[~background].sum(), 1.0)
    order = rng.permutation(np.flatnonzero(~background))
    # The largest first, each to where least is: those that follow even it out.
    order = order[np.argsort(-share[order], kind="stable")]
    with_threats = np.concatenate([order[threats[order] > 0], order[threats[order] == 0]])
    loads = np.zeros((n, 2))
    fold_of_group = np.zeros(len(names), dtype=np.int64)
    for i in with_threats:
        heavy = loads[:, 0] if threats[i] > 0 else loads.sum(axis=1)
        # Of folds with as many threats, the one with the fewest rows.
        fold = int(np.lexsort((loads.sum(axis=1), heavy))[0])
        loads[fold] += threats[i] / max(threats.sum(), 1.0), benign[i] / max(benign.sum(), 1.0)
        fold_of_group[i] = fold
    fold_of_row = fold_of_group[member]
    for i in np.flatnonzero(background):
        rows = np.flatnonzero(member == i)
        unit, _, sizes, _ = units_of(y[rows], None if same is None else same[rows])
        drawn = rng.permutation(len(sizes))
        dealt = np.empty(len(sizes), dtype=np.int64)
        dealt[drawn] = _dealt(sizes[drawn], n)
        fold_of_row[rows] = dealt[unit]
    return _of(fold_of_row, n)


def by_time(time: npt.NDArray[np.generic], n: int) -> list[Fold]:
    """Divides rows into ``n`` + 1 spans of time with nearly the same number of rows.

    Fold i trains on all spans before span i + 1, which is held out. Rows of one instant stay
    together.

    Raises DataError where there are too few instants.
    """
    instants, position, sizes = np.unique(time, return_inverse=True, return_counts=True)
    if len(instants) < n + 1:
        raise DataError(
            f"cv.folds must be at most {max(len(instants) - 1, 0)} here, but is {n}: by time each "
            f"fold needs later rows than the one before, and the training rows have "
            f"{len(instants)} different times. Lower cv.folds."
        )
    middle = np.cumsum(sizes) - sizes / 2
    span = np.minimum((middle * (n + 1) / len(time)).astype(np.int64), n)
    # A large instant may leave spans empty: the next ones move up, and the last spans are filled.
    span = np.unique(span, return_inverse=True)[1]
    if span[-1] < n:
        span = np.minimum(np.arange(len(instants)) * (n + 1) // len(instants), n)
    of_row = span[position]
    return [(np.flatnonzero(of_row < i), np.flatnonzero(of_row == i)) for i in range(1, n + 1)]


def _dealt(sizes: Indices, n: int, start: int = 0) -> Indices:
    """Assigns each unit to the fold with the fewest rows; the first one gets fold ``start``.

    Of one row each they go round.
    """
    if not len(sizes) or int(sizes.max()) == 1:
        return (np.arange(len(sizes)) * (1 if not start else -1) + start) % n
    filled = np.zeros(n, dtype=np.int64)
    order = (np.arange(n) + start) % n
    dealt = np.empty(len(sizes), dtype=np.int64)
    for i in np.argsort(-sizes, kind="stable"):
        fold = int(order[np.argmin(filled[order])])
        filled[fold] += sizes[i]
        dealt[i] = fold
    return dealt


def _of(fold: Indices, n: int) -> list[Fold]:
    return [(np.flatnonzero(fold != i), np.flatnonzero(fold == i)) for i in range(n)]


def _check_labels(parts: Parts, number: int, n: int) -> None:
    """Refuses a fold that cannot be trained or judged.

    Raises:
        DataError: A side of it has rows of one label alone.
    """
    sides: dict[str, Source] = {"trains": parts.train, "is held out": parts.val}
    for what, rows in sides.items():
        threats = int(rows.y.sum())
        if not 0 < threats < len(rows):
            kind = "no threat" if not threats else "no benign row"
            raise DataError(
                f"cv.folds must leave both labels in each fold, but what {what} of fold {number} "
                f"of {n} has {kind}. Lower cv.folds."
            )
