"""Decides whether the trial or a machine is at fault when a group ends early; has no effects."""

from __future__ import annotations

from typing import Any

from jamba_ray.errors import TrialError

MAX_DEATHS = 3
"""Deaths of ranks without a new report after which the trial fails: then the trial (most often its
memory) kills them, not the machines."""
SILENCE_S = 10.0
"""Seconds for a rank that hangs to report so, once others report that they wait."""


class RankError(Exception):
    """Holds the traceback of a rank, as the cause of a ``TrialError``."""


class Faults:
    """Collects what is reported about one trial's group and decides what follows."""

    def __init__(self) -> None:
        self._fault: dict[str, Any] | None = None
        self._culprit: dict[str, Any] | None = None
        self._waiting: dict[int, float | None] = {}
        self._deaths = 0
        self._told = 0

    @property
    def known(self) -> bool:
        """Says whether ranks failed, hung or died."""
        return self._fault is not None or self._culprit is not None or self._deaths > 0

    def fault(self, event: dict[str, Any]) -> None:
        """Notes that a rank's code raised; keeps only the first, from which the others follow."""
        self._fault = self._fault or event

    def hung(self, event: dict[str, Any]) -> None:
        """Notes that a rank was silent for too long, or reports that it waits for another one."""
        if event.get("kind") != "hung":
            return
        if event["waiting"]:
            self._waiting[event["number"]] = None
        else:
            self._culprit = self._culprit or event

    def to_leave(self, now: float) -> list[int]:
        """Returns the waiting ranks that are to be told "leave", after ``SILENCE_S``.

        No rank reported itself as hanging, so one is stopped or cut off, and the group can only
        restart.
        """
        for number, since in self._waiting.items():
            self._waiting[number] = now if since is None else since
        old = [n for n, t in self._waiting.items() if t is not None and now - t >= SILENCE_S]
        for number in old:
            del self._waiting[number]
        return old

    def blame(self) -> None:
        """Raises TrialError if the trial is at fault; called after each event.

        Raises:
            TrialError: The trial's own code failed or hung, and would do so again.
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
        """Notes that ranks died after ``told`` reports in all.

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
