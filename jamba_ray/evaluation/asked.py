"""Chooses the rows whose labels would say most, and what the labels say when they come.

Rows are put into strata by whether they are flagged and by how unsure the model is of them. Of each
stratum a share is drawn by chance, more where the labels vary more (Neyman 1934). Each row is drawn
independently (Poisson sampling) with a chance that is kept with it, so that the labels stand for
the whole window although unsure rows come far more often, and the betting test of ``sequential`` is
fair.

Letters: N rows, H strata.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from jamba_ray.evaluation.bootstrap import Interval

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
_STRATA = 4
"""Strata of flagged rows, and of the others, at most."""
_LEAST_SPREAD = 0.1
"""Spread of labels that each stratum has at least: a model may be sure and wrong."""
_DRAWS = 4_000


@dataclass(frozen=True)
class Asked:
    """Holds the rows to label: position, stratum, rows of the stratum, chance of being drawn."""

    rows: Ints
    stratum: Ints
    stratum_rows: Ints
    chance: Floats


def ask(chance: Floats, flagged: Bools, n: int, seed: int = 0) -> Asked:
    """Draws about ``n`` rows to label, of rows with the probabilities ``chance`` [N]."""
    stratum = strata(chance, flagged)
    n_strata = int(stratum.max(initial=-1)) + 1
    sizes = np.bincount(stratum, minlength=n_strata).astype(np.float64)
    spread = np.bincount(stratum, np.sqrt(chance * (1.0 - chance)), n_strata) / np.maximum(sizes, 1)
    want = sizes * np.maximum(spread, _LEAST_SPREAD)
    drawn = np.zeros(n_strata)
    # What a full stratum cannot take goes to the others.
    for _ in range(n_strata):
        free = drawn < sizes
        left = n - drawn[~free].sum()
        if not free.any() or left <= 0.0:
            break
        drawn[free] = np.minimum(left * want[free] / want[free].sum(), sizes[free])
    chances = (drawn / np.maximum(sizes, 1.0))[stratum]
    rows = np.flatnonzero(np.random.default_rng(seed).random(len(chance)) < chances)
    return Asked(
        rows.astype(np.int64), stratum[rows], sizes[stratum[rows]].astype(np.int64), chances[rows]
    )


def strata(chance: Floats, flagged: Bools) -> Ints:
    """Returns the stratum [N] of each row: of the flagged ones and of the others those of like
    unsureness."""
    unsure = np.sqrt(chance * (1.0 - chance))
    found = np.zeros(len(chance), dtype=np.int64)
    first = 0
    for side in (flagged, ~flagged):
        rows = np.flatnonzero(side)
        if not len(rows):
            continue
        # Even in the sum of unsureness, so that the many sure rows are few strata.
        order = rows[np.argsort(unsure[rows], kind="stable")]
        reached = np.cumsum(unsure[order] + 1e-3)
        at = np.minimum((reached / reached[-1] * _STRATA).astype(np.int64), _STRATA - 1)
        _, at = np.unique(at, return_inverse=True)
        found[order] = first + at
        first += int(at.max()) + 1
    return found


def stratified_rates(
    label: Bools, flagged: Bools, stratum: Ints, stratum_rows: Ints, seed: int = 0
) -> dict[str, Interval]:
    """Returns recall, precision, false-positive rate and share of threats of the whole window with
    95 % intervals, by the labels of rows drawn from its strata.

    The share of threats of each stratum is drawn from its posterior (Jeffreys' prior). A stratum is
    flagged as a whole or not at all; rates that the labels do not define are left out.
    """
    rng = np.random.default_rng(seed)
    drawn = {True: np.zeros((2, _DRAWS)), False: np.zeros((2, _DRAWS))}
    point = {True: np.zeros(2), False: np.zeros(2)}
    for one in np.unique(stratum):
        here = stratum == one
        n, k = int(here.sum()), int(label[here].sum())
        total = float(stratum_rows[here][0])
        side = bool(flagged[here][0])
        # What is labelled is known; the others are drawn.
        share = rng.beta(k + 0.5, n - k + 0.5, _DRAWS)
        rest = rng.binomial(int(max(total - n, 0)), share)
        drawn[side] += np.stack([k + rest, (n - k) + (max(total - n, 0) - rest)])
        point[side] += total * np.array([k / n, 1.0 - k / n])
    parts = {
        "recall": ((True, 0), ((True, 0), (False, 0))),
        "precision": ((True, 0), ((True, 0), (True, 1))),
        "fpr": ((True, 1), ((True, 1), (False, 1))),
        "threat_share": (None, ()),
    }
    found = {}
    for name, (top, below) in parts.items():
        if top is None:
            upper, lower = drawn[True][0] + drawn[False][0], sum(sum(drawn[s]) for s in drawn)
            value = (point[True][0] + point[False][0]) / max(sum(sum(point[s]) for s in point), 1)
        else:
            upper, lower = drawn[top[0]][top[1]], sum(drawn[s][c] for s, c in below)
            whole = sum(point[s][c] for s, c in below)
            value = point[top[0]][top[1]] / whole if whole > 0 else float("nan")
        if np.isnan(value) or float(np.min(lower)) <= 0.0:
            continue
        low, high = np.percentile(upper / lower, (2.5, 97.5))
        found[name] = Interval(
            value=float(value), low=min(float(low), value), high=max(float(high), value)
        )
    return found
