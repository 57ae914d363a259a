"""Decides when a sweep ends, by pure functions over its trials."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeGuard

from jamba_ray.config.budget import Limit
from jamba_ray.study.records import State

FIRST = 20
"""Without ``max_failed_trials`` a sweep ends when over half of this many first trials fail."""


def too_many_failed(first: Sequence[State], n_failed: int, max_failed: int | None) -> str | None:
    """Returns why failures must end the sweep, or None.

    Args:
        first: States of the first ``FIRST`` trials, by number; fewer if there are fewer.
        n_failed: All trials that failed.
        max_failed: ``max_failed_trials``.
    """
    if max_failed is not None:
        if n_failed >= max_failed:
            return f"{n_failed} trials failed, which `max_failed_trials` does not allow"
        return None
    failed = sum(state == "failed" for state in first)
    if failed > FIRST // 2:
        return f"{failed} of the first {FIRST} trials failed"
    return None


def out_of_time(elapsed_s: float, limit: Limit | None) -> str | None:
    """Returns why the budget must end the sweep, or None."""
    if limit is None or elapsed_s < limit.seconds:
        return None
    return f"{limit.words} is used up"


def is_score(value: float | None) -> TypeGuard[float]:
    """Says whether ``value`` may be compared: NaN and infinities may not."""
    return value is not None and math.isfinite(value)
