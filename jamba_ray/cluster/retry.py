"""Retries calls to a cluster that cannot be reached for a while and logs only the first failure."""

from __future__ import annotations

import math
import random
import re
import time
from collections.abc import Callable
from typing import TypeVar

from jamba_ray.checkpoints import Failure, Patience, retry
from jamba_ray.errors import UnavailableError

T = TypeVar("T")

_NUMBER = re.compile(r"\[Errno -?\d+\] ([^'\")\]]+)")
_STATUS = re.compile(r"status code (\d+)")


class Link:
    """Calls a cluster, and retries while it does not answer.

    Args:
        address: The cluster's address, for messages.
        patience_s: Seconds without an answer after which it gives up.
        say: Called when the cluster stops answering and when it answers again.
        advice: What to do when it gives up; the end of the error's sentence.
        sleep, clock, chance: Replace time and random numbers in tests.
    """

    def __init__(
        self,
        address: str,
        patience_s: float = 300.0,
        say: Callable[[str], object] = lambda sentence: None,
        *,
        advice: str = "Try again.",
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._address, self._say, self.advice = address, say, advice
        self._patience = Patience(patience_s, 1.0, 15.0, from_failure=True)
        self._sleep, self._clock, self._chance = sleep, clock, chance
        self._told = False
        self._answered_at = -math.inf

    def retry(self, ask: Callable[[], T]) -> T:
        """Returns what ``ask`` returns; raises what it raises if the cluster did answer.

        Raises:
            UnavailableError: The cluster was silent for longer than the patience.
        """
        asked_at = self._clock()
        silent_since: float | None = None

        def attempt() -> T:
            nonlocal asked_at
            asked_at = self._clock()
            return ask()

        def failed(failure: Failure) -> None:
            nonlocal silent_since
            error = failure.error
            if not is_silence(error):
                raise error
            silent_since = self._clock() - failure.waited_s
            # Logged once for all threads, and not if another thread got an answer meanwhile.
            if not self._told and asked_at >= self._answered_at:
                self._told = True
                self._say(self._silent(error))
            if failure.is_last:
                raise UnavailableError(self._given_up(error)) from error

        answer = retry(
            attempt,
            self._patience,
            failed,
            sleep=self._sleep,
            clock=self._clock,
            chance=self._chance,
        )
        self._answered_at = self._clock()
        if self._told and silent_since is not None:
            self._told = False
            self._say(f"the cluster answers again, after {self._clock() - silent_since:.0f} s")
        return answer

    def _silent(self, error: Exception) -> str:
        return (
            f"the cluster at {self._address} does not answer ({reason(error)}): "
            f"trying again for {self._patience.deadline_s:.0f} s; what runs there goes on"
        )

    def _given_up(self, error: Exception) -> str:
        return (
            f"the cluster at {self._address} must answer, but has not for "
            f"{self._patience.deadline_s:.0f} s ({reason(error)}). {self.advice}"
        )


def is_silence(error: BaseException) -> bool:
    """Says whether an error of Ray's client means that the cluster could not be reached.

    Its requests raise OSErrors; a proxy, a tunnel or a head that is starting answers with 5xx.
    """
    if isinstance(error, OSError):
        return True
    status = _STATUS.search(str(error)) if isinstance(error, RuntimeError) else None
    return status is not None and status[1].startswith("5")


def reason(error: BaseException) -> str:
    """Returns a short text for the errors of HTTP libraries, which wrap one another."""
    text = str(error)
    if found := _NUMBER.search(text):
        return found[1].strip().lower()
    if "timed out" in text or isinstance(error, TimeoutError):
        return "no answer in time"
    if "Connection aborted" in text or "RemoteDisconnected" in text:
        return "connection closed"
    if found := _STATUS.search(text):
        return f"HTTP status {found[1]}"
    return type(error).__name__
