"""Finds, for each malicious row, the permitted change that lowers its score most.

``search`` asks the model for scores alone, so that it serves any family: coordinate search from
the row as it is, then changes drawn at random (both ends of a column and what lies between).
``descend`` follows the sign of the network's own slope, projected to the limits (projected gradient
descent; Madry et al. 2018). Both keep every limit, since each candidate passes ``Attacker.within``
before it is scored.

What they find is a lower bound of what an attacker can do, not the most.

Letters: N rows, M mutable columns.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from jamba_ray.data.evasion import Attacker

Floats = npt.NDArray[np.float64]
Margin = Callable[[Floats], Floats]
"""Values [N, M] of the mutable columns -> log-odds [N] of a threat."""
Slope = Callable[[Floats], Floats]
"""Features [N, M] of the mutable columns -> how the log-odds change with each, [N, M]."""
SWEEPS, DRAWS, STEPS = 2, 24, 16
_BETWEEN = 2
"""Values between the ends that a sweep tries for each column."""


def search(
    margin: Margin,
    attacker: Attacker,
    raw: Floats,
    seed: int = 0,
    *,
    start: Floats | None = None,
    sweeps: int = SWEEPS,
    draws: int = DRAWS,
) -> tuple[Floats, Floats]:
    """Returns the best values [N, M] found and their log-odds [N]; never worse than ``raw``.

    Each row is scored 1 + ``sweeps`` x M x 4 + ``draws`` times. Where the score rises or falls
    with each column whatever the others are (a linear model, a monotone one), the first sweep finds
    the optimum.
    """
    rng = np.random.default_rng(seed)
    low, high = attacker.box(raw)
    best = raw.copy() if start is None else start.copy()
    value = margin(best)

    def take(wanted: Floats) -> None:
        tried = attacker.within(wanted, raw, low, high)
        found = margin(tried)
        better = found < value
        best[better], value[better] = tried[better], found[better]

    for _ in range(sweeps):
        for j in range(raw.shape[1]):
            ends = [low[:, j], high[:, j]]
            inside = [
                low[:, j] + rng.random(len(raw)) * (high[:, j] - low[:, j]) for _ in range(_BETWEEN)
            ]
            for cells in ends + inside:
                wanted = best.copy()
                wanted[:, j] = cells
                take(wanted)
    for _ in range(draws):
        share = rng.random(raw.shape)
        ends_only = rng.random(len(raw)) < 0.5
        share[ends_only] = np.rint(share[ends_only])
        drawn = low + share * (high - low)
        kept = rng.random(raw.shape) < 0.5
        take(np.where(kept, best, drawn))
    return best, value


def descend(
    margin: Margin, slope: Slope, attacker: Attacker, raw: Floats, *, steps: int = STEPS
) -> tuple[Floats, Floats]:
    """Returns the best values [N, M] on the way of a projected descent, and their log-odds [N].

    Steps are a quarter of the room that the limits leave, then ever smaller ones.
    """
    low, high = attacker.box(raw)
    best, value = raw.copy(), margin(raw)
    at = raw.copy()
    least = attacker.scaled(low).astype(np.float64)
    room = attacker.scaled(high) - least
    for step in range(steps):
        features = attacker.scaled(at).astype(np.float64)
        down = -np.sign(slope(features))
        aimed = np.clip(features + down * room * 0.25 / (1.0 + step / 4.0), least, least + room)
        # What does not move stays bit for bit what it is.
        moved = np.where(aimed == features, at, attacker.unscaled(aimed))
        at = attacker.within(moved, raw, low, high)
        found = margin(at)
        better = found < value
        best[better], value[better] = at[better], found[better]
    return best, value


def needed(margin: Margin, raw: Floats, best: Floats, value: Floats) -> tuple[Floats, Floats]:
    """Returns the values without the changes that do not lower the score, and their log-odds."""
    best, value = best.copy(), value.copy()
    for j in range(raw.shape[1]):
        tried = best.copy()
        tried[:, j] = raw[:, j]
        found = margin(tried)
        same = found <= value
        best[same], value[same] = tried[same], found[same]
    return best, value
