"""Who is to blame when a group ends before its trial: decisions only, no effects."""

from __future__ import annotations

from typing import Any

from jamba_ray.errors import TrialError

MAX_DEATHS = 3
"""Ranks may die so often without a single new report in between; what kills them then is the trial
(its memory, most often), not the machines."""
SILENCE_S = 10.0
"""How long a rank that hangs has to say so, once others complain that they wait."""


class RankError(Exception):
    """What a rank's own traceback said, as the cause of a ``TrialError``."""


class Faults:
    """What was told about one trial's group, and what follows from it."""

    def __init__(self) -> None:
        self._fault: dict[str, Any] | None = None
        self._culprit: dict[str, Any] | None = None
        self._waiting: dict[int, float | None] = {}
        self._deaths = 0
        self._told = 0

    @property
    def known(self) -> bool:
        """Whether ranks failed, hung or died."""
        return self._fault is not None or self._culprit is not None or self._deaths > 0

    def fault(self, event: dict[str, Any]) -> None:
        """A rank's code raised. The first says why; what others say follows from it."""
        self._fault = self._fault or event

    def hung(self, event: dict[str, Any]) -> None:
        """A rank was silent for too long, or complains that it waits."""
        if event.get("kind") != "hung":
            return
        if event["waiting"]:
            self._waiting[event["number"]] = None
        else:
            self._culprit = self._culprit or event

    def to_leave(self, now: float) -> list[int]:
        """Complaints to answer with "leave": nobody said that it hangs, so a rank is stopped or cut
        off, and the group can only start again."""
        for number, since in self._waiting.items():
            self._waiting[number] = now if since is None else since
        old = [n for n, t in self._waiting.items() if t is not None and now - t >= SILENCE_S]
        for number in old:
            del self._waiting[number]
        return old

    def blame(self) -> None:
        """Called after each event; returns where no fault of the trial's is known.

        Raises:
            TrialError: The trial's own code failed or hung. Trying again would do it again.
        """
        if self._fault is not None:
            cause = RankError(f"rank {self._fault['rank']}:\n{self._fault['traceback']}")
            raise TrialError(str(self._fault["reason"])) from cause
        if self._culprit is not None:
            where = self._culprit["stack"].strip().splitlines()
            raise TrialError(
                f"every step must end, but rank {self._culprit['rank']} made none for "
                f"{self._culprit['silent_s']:.0f} s, last seen at: {' '.join(where[-1:]).strip()}"
            ) from RankError(f"rank {self._culprit['rank']} hung at:\n{self._culprit['stack']}")

    def died(self, told: int) -> None:
        """Ranks died after ``told`` reports in all.

        Raises:
            TrialError: That happened too often without progress.
        """
        self._waiting.clear()
        self._deaths = self._deaths + 1 if told == self._told else 1
        self._told = told
        if self._deaths >= MAX_DEATHS:
            raise TrialError(
                f"its processes must live, but died {self._deaths} times before the next report; "
                "most often memory is too small: lower `training.batch_size`, or raise "
                "`training.accumulate`"
            )
