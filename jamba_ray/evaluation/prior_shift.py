"""Estimates the share of threats among rows without labels, from their scores.

Black box shift estimation (Lipton, Wang & Smola 2018): if threats look as before, and benign rows
too, the mean of any function of the score is a mixture of its means over threats and over benign
rows, in the shares of both. With two classes this is one equation. The function is the calibrated
probability, whose variance is near the least. Whether the supposition fits is tested on the scores
themselves (``mixture``).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
LEAST_APART = 0.02
"""Difference of the mean probability of both classes below which nothing can be told."""


@dataclass(frozen=True)
class Prior:
    """Holds a share of threats with its 95 % interval."""

    value: float
    low: float
    high: float
    error: float
    """The standard error, before the share is cut to [0, 1]."""
    before: float
    """The share among the reference rows."""
    before_error: float

    @property
    def differs(self) -> bool:
        """Says whether it is another share than that of the reference (two-sided, 1 %)."""
        error = math.hypot(self.error, self.before_error)
        return abs(self.value - self.before) > 2.576 * error


def prior_of(window: Floats, reference: Floats, label: Bools) -> Prior | None:
    """Returns the share of threats among rows with the probabilities ``window`` [N].

    ``reference`` [M] are those of rows with the labels ``label``. None where there are too few of a
    class, or the model does not tell them apart.
    """
    threats, benign = reference[label], reference[~label]
    if min(len(threats), len(benign)) < 20 or len(window) < 2:
        return None
    high, low = float(threats.mean()), float(benign.mean())
    if high - low < LEAST_APART:
        return None
    share = (float(window.mean()) - low) / (high - low)
    inside = min(max(share, 0.0), 1.0)
    variance = (
        float(window.var(ddof=1)) / len(window)
        + inside**2 * float(threats.var(ddof=1)) / len(threats)
        + (1.0 - inside) ** 2 * float(benign.var(ddof=1)) / len(benign)
    )
    error = math.sqrt(variance) / (high - low)
    before = float(label.mean())
    return Prior(
        value=inside,
        low=min(max(share - 1.96 * error, 0.0), 1.0),
        high=min(max(share + 1.96 * error, 0.0), 1.0),
        error=error,
        before=before,
        before_error=math.sqrt(before * (1.0 - before) / len(label)),
    )


def mixture(label: Bools, share: float, seed: int = 0) -> npt.NDArray[np.int64]:
    """Draws as many reference rows as there can be with this share of threats, without replacement;
    returns their positions in order.
    """
    threats, benign = np.flatnonzero(label), np.flatnonzero(~label)
    total = min(
        len(threats) / share if share > 0.0 else math.inf,
        len(benign) / (1.0 - share) if share < 1.0 else math.inf,
    )
    rng = np.random.default_rng(seed)
    n_threats = min(round(total * share), len(threats))
    n_benign = min(round(total * (1.0 - share)), len(benign))
    kept = [rng.choice(threats, n_threats, False), rng.choice(benign, n_benign, False)]
    return np.sort(np.concatenate(kept)).astype(np.int64)
