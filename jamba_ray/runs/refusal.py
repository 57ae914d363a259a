"""Retries a store that refuses, with the same messages for the study and for checkpoints."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from jamba_ray.checkpoints import Failure, Patience, retry
from jamba_ray.errors import CheckpointError, StorageError, StoreRefusedError

T = TypeVar("T")
_LOG = logging.getLogger(__name__)
_FINAL = (CheckpointError, StoreRefusedError)


def retry_store(
    call: Callable[[], T],
    patience_s: float,
    waiting: Callable[[str | None], object],
    note: Callable[[str], object] = _LOG.warning,
) -> T:
    """Calls a store until it succeeds, refuses for good, or ``patience_s`` seconds are over.

    Args:
        call: The operation. It must not retry by itself.
        patience_s: Seconds for all attempts together.
        waiting: Called at each refusal with what is waited for, and with None once that is over.
        note: Called with each refusal, for a log.

    Raises:
        StorageError: The last refusal, with the time that was really waited.
    """
    was_refused = False

    def failed(failure: Failure) -> None:
        nonlocal was_refused
        error = failure.error
        if not isinstance(error, StorageError) or isinstance(error, _FINAL):
            raise error
        if failure.is_last:
            raise gave_up(error, failure.waited_s, failure.attempts) from error
        was_refused = True
        note(f"{error.message} Trying again.")
        waiting(refusal(error, failure.waited_s, patience_s))

    done = retry(call, Patience(patience_s, longest_s=5.0), failed)
    if was_refused:
        waiting(None)
    return done


def gave_up(error: StorageError, waited_s: float, attempts: int) -> StorageError:
    """Returns the error of a store that was retried ``attempts`` times in ``waited_s`` seconds."""
    if attempts == 1:
        return error
    return StorageError(
        f"{error.message.rstrip('.')} (tried {attempts} times in {waited_s:.0f} s)."
    )


def refusal(error: Exception, waited_s: float, patience_s: float) -> str:
    """Returns a text for a display that waits for a store.

    For example: ``the store refuses (no space left on device): trying again, 12 of 60 s``.
    """
    cause = error.__cause__ or error
    why = getattr(cause, "strerror", None) or str(cause)
    return f"the store refuses ({why.lower()}): trying again, {waited_s:.0f} of {patience_s:g} s"
