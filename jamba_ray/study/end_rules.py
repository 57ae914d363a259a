"""When a sweep ends: pure decisions over its trials."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeGuard

from jamba_ray.config.budget import Limit
from jamba_ray.study.records import State

FIRST = 20
"""Without ``max_failed_trials`` a sweep ends when more than half of its first so many fail."""


def too_many_failed(first: Sequence[State], n_failed: int, max_failed: int | None) -> str | None:
    """Why the sweep must end because of failures, or None.

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
    """Why the sweep must end because of its budget, or None."""
    if limit is None or elapsed_s < limit.seconds:
        return None
    return f"{limit.words} is used up"


def is_score(value: float | None) -> TypeGuard[float]:
    """Whether ``value`` may be compared: NaN and infinities are never best."""
    return value is not None and math.isfinite(value)
