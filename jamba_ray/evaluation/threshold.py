"""Chooses where to cut probabilities into alarms, and counts what the cut costs."""

from __future__ import annotations

from typing import TypedDict

import numpy as np
import numpy.typing as npt

from jamba_ray.errors import DataError
from jamba_ray.evaluation.counts import Counts, checked, count
from jamba_ray.evaluation.metrics import blocks_within_fpr, f1_down_to

FPR_LIMITS = {"fpr_1e-2": 1e-2, "fpr_1e-3": 1e-3}


class Confusion(TypedDict):
    """Counts rows by truth and alarm."""

    true_positives: int
    false_positives: int
    true_negatives: int
    false_negatives: int


class OperatingPoint(TypedDict):
    """Holds a threshold chosen for its false-positive rate, and its rates on the rows it was chosen
    on.

    On other rows the rate may differ much (drift), so it is no promise.
    """

    threshold: float
    fpr: float
    recall: float
    precision: float | None
    """None: nothing is flagged."""


def choose_threshold(y: npt.ArrayLike, p: npt.ArrayLike) -> float:
    """Chooses the threshold with the highest F1 on these rows; of equal ones the highest (fewest
    alarms).

    It lies halfway between two neighbouring scores, so that rounding in another batch size or on
    another machine flips no row. Raises as ``count`` does.

    Raises:
        DataError: If there are no threats, so that F1 is undefined.
    """
    counts = count(y, p)
    if counts.n_threats == 0:
        raise DataError(
            "A threshold needs threats to be chosen on, but these rows have none. "
            "Choose rows with threats among them."
        )
    return cut_below(counts, int(np.argmax(f1_down_to(counts))))


def operating_points(y: npt.ArrayLike, p: npt.ArrayLike) -> dict[str, OperatingPoint]:
    """Chooses the lowest thresholds of a false-positive rate of at most 1 % and 0.1 %.

    They are called 'fpr_1e-2' and 'fpr_1e-3'. It raises as ``count`` does.

    Raises:
        DataError: If threats or benign rows are missing, so that a rate is undefined.
    """
    counts = count(y, p)
    if counts.n_threats == 0 or counts.n_benign == 0:
        raise DataError(
            f"Operating points need threats and benign rows, but there are {counts.n_threats:.0f} "
            f"and {counts.n_benign:.0f}. Choose rows with both."
        )
    return {name: _operating_point(counts, limit) for name, limit in FPR_LIMITS.items()}


def _operating_point(counts: Counts, limit: float) -> OperatingPoint:
    n = blocks_within_fpr(counts, limit)
    tp, fp = float(counts.threats[:n].sum()), float(counts.benign[:n].sum())
    return OperatingPoint(
        threshold=cut_below(counts, n - 1),
        fpr=fp / counts.n_benign,
        recall=tp / counts.n_threats,
        precision=tp / (tp + fp) if n else None,
    )


def cut_below(counts: Counts, block: int) -> float:
    """Returns a threshold that flags blocks 0 .. ``block`` and no other; -1 flags none.

    Always finite, and above 1 only where block 0 has the score 1.
    """
    if block < 0:
        return float(np.nextafter(counts.score[0], 2.0))
    upper = float(counts.score[block])
    lower = float(counts.score[block + 1]) if block + 1 < len(counts.score) else 0.0
    middle = lower + (upper - lower) / 2.0
    return middle if lower < middle else upper


def confusion(y: npt.ArrayLike, p: npt.ArrayLike, threshold: float) -> Confusion:
    """Counts rows by truth and by ``p >= threshold``; raises as ``count`` does."""
    labels, scores = checked(y, p)
    alarm = scores >= threshold
    return Confusion(
        true_positives=int(np.count_nonzero(alarm & labels)),
        false_positives=int(np.count_nonzero(alarm & ~labels)),
        true_negatives=int(np.count_nonzero(~alarm & ~labels)),
        false_negatives=int(np.count_nonzero(~alarm & labels)),
    )
