"""What is done and shown while a store refuses, in the same words for the study and checkpoints."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

from jamba_ray.checkpoints import Patience
from jamba_ray.errors import CheckpointError, StorageError, StoreRefusedError

T = TypeVar("T")


def insist(
    call: Callable[[], T],
    patience_s: float,
    waiting: Callable[[str | None], object],
    note: Callable[[str], object] = lambda sentence: None,
) -> T:
    """Call a store until it succeeds, refuses for good, or ``patience_s`` seconds are over.

    Args:
        call: What is to be done. It does not wait and try again by itself.
        patience_s: Seconds for all attempts together.
        waiting: Is told at each refusal what is waited for, and None once that is over.
        note: Is told each refusal, for a log.

    Raises:
        StorageError: The last refusal, with the time that was really waited.
    """
    pauses = Patience(first_s=0.2, longest_s=5.0)
    begun, attempt = time.monotonic(), 0
    while True:
        attempt += 1
        try:
            done = call()
        except (CheckpointError, StoreRefusedError):
            raise
        except StorageError as error:
            waited = time.monotonic() - begun
            if waited >= patience_s:
                raise gave_up(error, waited, attempt) from error
            note(f"{error.message} Trying again.")
            waiting(refusal(error, waited, patience_s))
            pause = pauses.pause_s(attempt, 0.5 + 0.5 * random.random())
            time.sleep(min(pause, patience_s - waited))
        else:
            if attempt > 1:
                waiting(None)
            return done


def gave_up(error: StorageError, waited_s: float, attempts: int) -> StorageError:
    """The error of a store that was asked for so long, so often."""
    if attempts == 1:
        return error
    return StorageError(
        f"{error.message.rstrip('.')} (tried {attempts} times in {waited_s:.0f} s)."
    )


def refusal(error: Exception, waited_s: float, patience_s: float) -> str:
    """``the store refuses (no space left on device): trying again, 12 of 60 s``."""
    cause = error.__cause__ or error
    why = getattr(cause, "strerror", None) or str(cause)
    return f"the store refuses ({why.lower()}): trying again, {waited_s:.0f} of {patience_s:g} s"
