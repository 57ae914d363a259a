"""Where a runner and the ranks of its group meet: jobs one way, reports and outcomes the other.

A small actor of the runner's own (it dies with it), because a runner that waits for a trial can
not be called. Nothing heavy is imported here, and what is heavy passes through as references.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

Event = dict[str, Any]
"""``kind``, ``job`` and what belongs to the kind: 'report', 'saved', 'ended', 'fault', 'hung',
'lost', 'store_lost'; ``number`` where an answer is awaited."""

END = "end"
"""The answer to a rank that asks for a job when there will be none for it."""


class GroupQueue:
    """The actor (all methods run in one event loop)."""

    def __init__(self) -> None:
        self._job: tuple[int, Any] | None = None
        self._taken = False
        self._life = 0
        """Which ranks are served: those that came up last."""
        self._up = self._preempted = self._closed = False
        self._changed = asyncio.Condition()
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._asked = 0

    # --- for the runner -------------------------------------------------------------------------

    async def submit(self, job: int, payload: Sequence[Any]) -> None:
        """Offer a job; ``payload`` holds a reference."""
        async with self._changed:
            self._job, self._taken = (job, payload), False
            self._changed.notify_all()

    async def collect(self, timeout_s: float) -> list[Event]:
        """What happened since the last call; waits so long for the first event."""
        try:
            events = [await asyncio.wait_for(self._events.get(), timeout_s)]
        except TimeoutError:
            return []
        while not self._events.empty():
            events.append(self._events.get_nowait())
        return events

    async def answer(self, number: int, words: Any) -> None:
        """Answer the event that was asked under ``number``."""
        self._answers.pop(number).set_result(words)

    async def close(self) -> None:
        """There will be no more jobs."""
        async with self._changed:
            self._closed = True
            self._changed.notify_all()

    # --- for Ray Train's controller -----------------------------------------------------------

    async def died(self, preempted: bool) -> bool:
        """A rank died; whether others shall be started in place of all. Not where they died before
        they came up, which would go on for ever."""
        async with self._changed:
            start, self._up = self._up and not self._closed, False
            self._preempted, self._life = preempted, self._life + 1
            self._changed.notify_all()
        return start

    # --- for ranks ----------------------------------------------------------------------------

    async def arrived(self) -> int:
        """Rank 0 says that all ranks came up, and gets the number to ask for jobs with. Those that
        were there before are certainly gone: now, not sooner, their job counts as lost."""
        async with self._changed:
            if self._job is not None and self._taken:
                lost = {"kind": "lost", "job": self._job[0], "preempted": self._preempted}
                self._job = None
                await self._events.put(lost)
            self._up, self._preempted, self._life = True, False, self._life + 1
            self._changed.notify_all()
            return self._life

    async def next_job(self, life: int, after: int) -> Any:
        """The first job after number ``after``: (number, payload), or ``END``."""
        async with self._changed:
            await self._changed.wait_for(
                lambda: (
                    self._closed
                    or life != self._life
                    or (self._job is not None and self._job[0] > after)
                )
            )
            if self._closed or life != self._life:
                return END
            self._taken = True
            return self._job

    async def ask(self, event: Event) -> Any:
        """An event that is to be answered: waits for what the runner says."""
        self._asked += 1
        number = self._asked
        self._answers[number] = asyncio.get_running_loop().create_future()
        await self._events.put({**event, "number": number})
        return await self._answers[number]

    async def tell(self, event: Event) -> None:
        """An event that needs no answer."""
        await self._events.put(event)
