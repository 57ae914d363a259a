"""Finds which attacks are found and which are missed: results per group, and per seen or unseen
group."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypedDict

import numpy as np
import numpy.typing as npt

from jamba_ray.evaluation.counts import checked


class GroupResult(TypedDict):
    """Says what a threshold does to the rows of one group; strict JSON."""

    group: str
    rows: int
    threats: int
    recall: float | None
    """Share of the group's threats that are flagged; None: it has no threats."""
    fpr: float | None
    """Share of the group's benign rows that are flagged; None: it has none."""
    seen: bool | None
    """Whether training had rows of the group; None: not known."""


def by_group(
    y: npt.ArrayLike,
    p: npt.ArrayLike,
    group: npt.ArrayLike,
    threshold: float,
    seen: Iterable[str] | None = None,
) -> list[GroupResult]:
    """Returns one result per group (attack class, host), those with the most threats first.

    ``y`` and ``p`` [N] as for ``count``; ``group`` [N] names; ``seen``: the groups that training
    had (repeats do no harm). Few threats make a recall uncertain: read it with ``threats``.
    """
    labels, scores = checked(y, p)
    names = np.asarray(group).astype(str)
    if names.shape != labels.shape:
        raise ValueError(
            f"`group` must name one group per row ({len(labels)}), but has shape {names.shape}"
        )
    trained_on = None if seen is None else frozenset(map(str, seen))
    known, inverse = np.unique(names, return_inverse=True)
    alarm = scores >= threshold
    m = len(known)
    rows = np.bincount(inverse, minlength=m)
    threats = np.bincount(inverse[labels], minlength=m)
    found = np.bincount(inverse[labels & alarm], minlength=m)
    false_alarms = np.bincount(inverse[~labels & alarm], minlength=m)
    results = [
        GroupResult(
            group=str(known[i]),
            rows=int(rows[i]),
            threats=int(threats[i]),
            recall=float(found[i] / threats[i]) if threats[i] else None,
            fpr=float(false_alarms[i] / (rows[i] - threats[i])) if rows[i] > threats[i] else None,
            seen=None if trained_on is None else str(known[i]) in trained_on,
        )
        for i in range(m)
    ]
    return sorted(results, key=lambda r: (-r["threats"], -r["rows"], r["group"]))


def drawn_groups(
    y: npt.ArrayLike, group: npt.NDArray[Any] | None, seen: npt.NDArray[Any] | None
) -> npt.NDArray[Any] | None:
    """Returns the groups [N] of judged rows where what varies is the group, so that intervals are
    over groups; None where rows are drawn.

    It is so where most threats (or, without threats, most rows) are of groups that training did not
    have: another draw would bring other hosts, sessions or days. Where training had them, other
    rows of the same groups are what will come.
    """
    if group is None or seen is None:
        return None
    labels = np.asarray(y) == 1
    counted = group[labels] if labels.any() else group
    return group if 2 * np.isin(counted, np.unique(seen)).sum() < len(counted) else None


def by_novelty(
    y: npt.ArrayLike,
    p: npt.ArrayLike,
    group: npt.ArrayLike,
    threshold: float,
    seen: Iterable[str],
) -> list[GroupResult]:
    """Returns all rows of groups that training had as one group, 'seen', and all others as
    'unseen'."""
    names = np.asarray(group).astype(str)
    novelty = np.where(np.isin(names, list(frozenset(map(str, seen)))), "seen", "unseen")
    return by_group(y, p, novelty, threshold, seen=("seen",))
