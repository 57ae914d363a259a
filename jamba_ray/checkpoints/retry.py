"""Retries a call with growing random pauses: the only loop of its kind in jamba_ray."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Patience:
    """Says for how long and how often a call is tried again.

    Full jitter (Brooker 2015, "Exponential backoff and jitter"): runners refused at the same moment
    do not come back at the same moment.
    """

    deadline_s: float = 120.0
    """Seconds for all attempts together; the last one is made at their end. 0: one attempt."""
    first_s: float = 0.2
    longest_s: float = 15.0
    from_failure: bool = False
    """Whether the seconds count from the first failure: for a call that may take long itself."""

    def pause_s(self, attempt: int, chance: float) -> float:
        """Returns the seconds after attempt ``attempt`` (from 1), ``chance`` being from [0, 1)."""
        return chance * min(self.longest_s, self.first_s * 2.0 ** min(attempt, 30))


class Failure(NamedTuple):
    """Describes an attempt that failed."""

    error: Exception
    attempts: int
    """Attempts so far, this one included."""
    waited_s: float
    is_last: bool
    """Whether the patience is over."""


def retry(
    call: Callable[[], T],
    patience: Patience,
    failed: Callable[[Failure], object],
    *,
    sleep: Callable[[float], object] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
    chance: Callable[[], float] = random.random,
) -> T:
    """Calls ``call`` until it succeeds, ``failed`` raises, or the patience is over.

    Args:
        call: The operation. It must not retry by itself: nested loops would wait for a
            multiple of the patience.
        patience: How long, and how often.
        failed: Called after each attempt that failed. It raises what is final (``Failure.error``,
            or an error of its own); where it returns, another attempt follows unless this was the
            last one.
        sleep, clock, chance: Replace time and random numbers in tests.
    """
    begun, attempts = clock(), 0
    while True:
        attempts += 1
        try:
            return call()
        except Exception as error:
            now = clock()
            if attempts == 1 and patience.from_failure:
                begun = now
            left_s = begun + patience.deadline_s - now
            failed(Failure(error, attempts, now - begun, left_s <= 0.0))
            if left_s <= 0.0:
                raise
            sleep(min(left_s, patience.pause_s(attempts, chance())))
