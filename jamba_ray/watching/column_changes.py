"""Holds each column of a window, and the score, against the reference rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import betabinom  # type: ignore[import-untyped]

from jamba_ray.data import Preprocessor
from jamba_ray.data.reference import Reference
from jamba_ray.evaluation.two_samples import (
    FEWEST_ROWS,
    Compared,
    code_bins,
    compare_bins,
    discoveries,
    numeric_bins,
    share_p,
)
from jamba_ray.watching.window import ColumnSeen, Window

OF_VALUES, OF_CELLS = 0.8, 0.2
"""Shares of ``alpha`` for how values are distributed, and for gaps and values never seen."""
UNITS = (1e3, 1e6, 1e9, 1024.0, 1024.0**2, 60.0, 3600.0, 8.0, 100.0)
"""Factors between units that are taken for each other: seconds and milliseconds, bytes and bits."""
_NEAR = 0.15
"""How far, relatively, the typical size may be from such a factor."""
MOST_ROWS = 20_000
"""Rows of a window that are compared, every k-th of more."""


@dataclass(frozen=True)
class Share:
    """Holds how often something comes, and the chance of that where nothing has changed."""

    value: float
    before: float
    p: float
    found: bool = False

    def to_json(self) -> dict[str, Any]:
        """Returns strict JSON."""
        return {"value": self.value, "before": self.before, "p": self.p, "found": self.found}


@dataclass(frozen=True)
class ColumnChange:
    """Says how one column differs from the reference; ``score`` is one too."""

    column: str
    kind: str
    """``number``, ``name`` or ``score``."""
    values: Compared | None
    """None: the window or the reference has too few values."""
    found: bool = False
    missing: Share | None = None
    unseen: Share | None = None
    """Numbers beyond the ends of training, or names without a code."""
    new: tuple[tuple[str, int], ...] = ()
    unreadable: int = 0
    factor: float | None = None
    """The change of unit that would make such values, where one does."""

    def to_json(self) -> dict[str, Any]:
        """Returns strict JSON."""
        values = self.values
        return {
            "column": self.column,
            "kind": self.kind,
            "p": None if values is None else values.p,
            "found": self.found,
            "distance": None if values is None else values.distance,
            "psi": None if values is None else values.psi,
            "psi_by_chance": None if values is None else values.psi_by_chance,
            "rows": None if values is None else values.rows,
            "effective_rows": None if values is None else values.effective,
            "missing": None if self.missing is None else self.missing.to_json(),
            "unseen": None if self.unseen is None else self.unseen.to_json(),
            "new": dict(self.new),
            "unreadable": self.unreadable,
            "factor": self.factor,
        }


def compare_scores(
    window: npt.NDArray[np.float64], reference: Reference, needed: float = 0.05
) -> Compared | None:
    """Compares scores [N] with those of the reference; None where there are too few."""
    if min(len(window), len(reference)) < FEWEST_ROWS:
        return None
    here, there, n_bins = numeric_bins(_some(window), reference.score)
    blocks = reference.blocks(len(window))
    return compare_bins(here, there, n_bins, ordered=True, blocks=blocks, needed=needed)


def compare_columns(
    window: Window, reference: Reference, sizes: Mapping[str, float], needed: float = 0.05
) -> list[ColumnChange]:
    """Compares each column of the model, in its order; ``found`` is left for ``with_found``.

    ``sizes``: of a numeric column the median size of the reference's numbers (``sizes_of``);
    ``needed``: as in ``compare_bins``.
    """
    schema = reference.schema
    blocks = reference.blocks(len(window))
    present = {
        name.removesuffix(" (missing)"): reference.x_cat[:, j] != 0
        for j, name in enumerate(schema.categorical)
        if name.endswith(" (missing)") and schema.cardinalities[j] == 2
    }
    found: dict[str, ColumnChange] = {}
    for j, name in enumerate(schema.numeric):
        seen = window.seen[name]
        there = reference.x_num[:, j]
        has = present.get(name)
        own = [(block if has is None else block[has], length) for block, length in blocks]
        here = window.x_num[:, j][~seen.missing]
        there = there if has is None else there[has]
        values = None
        if min(len(here), len(there)) >= FEWEST_ROWS:
            bins = numeric_bins(_some(here).astype(np.float64), there.astype(np.float64))
            values = compare_bins(*bins, ordered=True, blocks=own, seed=j, needed=needed)
        found[name] = _with_shares(
            ColumnChange(name, "number", values, factor=_factor(seen.size, sizes[name])),
            seen,
            window,
            reference,
            _beyond(seen, window, reference),
        )
    for j, feature in enumerate(schema.categorical):
        name = feature.removesuffix(" (missing)")
        if name in found or (feature != name and name in present and name not in window.seen):
            continue
        seen = window.seen[name]
        if feature != name and name in present:  # only its gaps are a feature
            found[name] = _with_shares(
                ColumnChange(name, "number", None), seen, window, reference, None
            )
            continue
        values = None
        if min(len(window), len(reference)) >= FEWEST_ROWS:
            bins = code_bins(_some(window.x_cat[:, j]), reference.x_cat[:, j])
            values = compare_bins(*bins, ordered=False, blocks=blocks, seed=1000 + j, needed=needed)
        change = ColumnChange(name, "name", values, new=tuple(seen.new.items()))
        unknown = _unknown(seen, window, reference, reference.x_cat[:, j], name)
        found[name] = _with_shares(change, seen, window, reference, unknown)
    return list(found.values())


def sizes_of(preprocessing: Preprocessor, reference: Reference) -> dict[str, float]:
    """Returns the median size of the reference's numbers of each numeric column, in the unit of the
    table."""
    return {
        column.name: float(
            np.median(np.abs(column.scale.inverse(reference.x_num[:, j].astype(np.float64))))
        )
        for j, column in enumerate(preprocessing.numeric)
        if len(reference)
    }


def with_found(
    changes: Sequence[ColumnChange], others: Sequence[float], alpha: float
) -> tuple[list[ColumnChange], list[bool]]:
    """Decides which changes are found, at most the share ``alpha`` of them by chance.

    ``others``: p-values of further tests of values, which come back decided too.
    """
    tested = [i for i, change in enumerate(changes) if change.values is not None]
    p = [one.values.p for one in changes if one.values is not None]
    decided = discoveries([*p, *others], OF_VALUES * alpha)
    found = list(changes)
    for i, is_found in zip(tested, decided, strict=False):
        found[i] = replace(found[i], found=is_found)
    cells = [
        (i, name)
        for i, change in enumerate(changes)
        for name in ("missing", "unseen")
        if getattr(change, name) is not None
    ]
    known = discoveries([getattr(changes[i], name).p for i, name in cells], OF_CELLS * alpha)
    for (i, name), one in zip(cells, known, strict=True):
        found[i] = replace(found[i], **{name: replace(getattr(changes[i], name), found=one)})
    return found, decided[len(tested) :]


def _some(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return values[:: -(-len(values) // MOST_ROWS)] if len(values) > MOST_ROWS else values


def _factor(here: float | None, there: float | None) -> float | None:
    """Returns the factor of a change of unit between two typical sizes; None where none fits."""
    if not here or not there:
        return None
    for factor in UNITS:
        for one in (factor, 1.0 / factor):
            if abs(here / there / one - 1.0) <= _NEAR:
                return one
    return None


def _with_shares(
    change: ColumnChange,
    seen: ColumnSeen,
    window: Window,
    reference: Reference,
    unseen: Share | None,
) -> ColumnChange:
    n, k = len(window), int(seen.missing.sum())
    m = reference.part_rows
    before = reference.missing.get(change.column, 0.0)
    missing = Share(k / n, before, share_p(k, n, round(before * m), m))
    return replace(change, missing=missing, unseen=unseen, unreadable=seen.unreadable)


def _beyond(seen: ColumnSeen, window: Window, reference: Reference) -> Share:
    """Returns the share of numbers beyond the ends of training.

    Of m training rows the ends cut off a share that is Beta(2, m - 1) distributed, so that what is
    beyond them among n others is beta-binomial, whatever the column's distribution.
    """
    n, m = int((~seen.missing).sum()), max(reference.train_rows, 2)
    p = float(betabinom.sf(seen.beyond - 1, n, 2, m - 1)) if n else 1.0
    return Share(seen.beyond / max(n, 1), 2.0 / (m + 1), p)


def _unknown(
    seen: ColumnSeen,
    window: Window,
    reference: Reference,
    codes: npt.NDArray[np.int64],
    name: str,
) -> Share:
    n, m = len(window), len(reference)
    gaps = round(reference.missing.get(name, 0.0) * m)
    before = max(int((codes == 0).sum()) - gaps, 0)
    return Share(seen.unknown / n, before / m, share_p(seen.unknown, n, before, m))
