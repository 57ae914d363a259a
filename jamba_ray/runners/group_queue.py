"""Exchanges messages between a runner and its ranks: jobs one way, reports and outcomes the other.

It is a small actor that the runner owns and that dies with it, because a runner that waits for a
trial cannot be called. It imports nothing heavy, and large objects pass through as references.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

Event = dict[str, Any]
"""Has ``kind`` ('report', 'saved', 'ended', 'fault', 'hung', 'lost' or 'store_lost'), ``job``, and
the values of that kind; ``number`` where an answer is awaited."""

END = "end"
"""Answers a rank that asks for a job when there will be none for it."""


class GroupQueue:
    """Holds the job and the events of a group; the actor runs all methods in one event loop."""

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
        """Offers a job; ``payload`` holds a reference."""
        async with self._changed:
            self._job, self._taken = (job, payload), False
            self._changed.notify_all()

    async def collect(self, timeout_s: float) -> list[Event]:
        """Returns the events since the last call; waits up to ``timeout_s`` for the first one."""
        try:
            events = [await asyncio.wait_for(self._events.get(), timeout_s)]
        except TimeoutError:
            return []
        while not self._events.empty():
            events.append(self._events.get_nowait())
        return events

    async def answer(self, number: int, words: Any) -> None:
        """Answers the event that was asked under ``number``."""
        self._answers.pop(number).set_result(words)

    async def close(self) -> None:
        """Ends the queue: there will be no more jobs."""
        async with self._changed:
            self._closed = True
            self._changed.notify_all()

    # --- for Ray Train's controller -----------------------------------------------------------

    async def died(self, preempted: bool) -> bool:
        """Notes that a rank died and returns whether the ranks are to be restarted.

        They are not if they died before all of them came up: that would repeat for ever.
        """
        async with self._changed:
            start, self._up = self._up and not self._closed, False
            self._preempted, self._life = preempted, self._life + 1
            self._changed.notify_all()
        return start

    # --- for ranks ----------------------------------------------------------------------------

    async def arrived(self) -> int:
        """Notes that all ranks came up and returns the number with which they ask for jobs.

        Rank 0 calls it. The earlier ranks are certainly gone only now, so their job counts as lost
        from here.
        """
        async with self._changed:
            if self._job is not None and self._taken:
                lost = {"kind": "lost", "job": self._job[0], "preempted": self._preempted}
                self._job = None
                await self._events.put(lost)
            self._up, self._preempted, self._life = True, False, self._life + 1
            self._changed.notify_all()
            return self._life

    async def next_job(self, life: int, after: int) -> Any:
        """Returns the first job after number ``after`` as (number, payload), or ``END``."""
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
        """Adds an event and waits for the runner's answer."""
        self._asked += 1
        number = self._asked
        self._answers[number] = asyncio.get_running_loop().create_future()
        await self._events.put({**event, "number": number})
        return await self._answers[number]

    async def tell(self, event: Event) -> None:
        """Adds an event that needs no answer."""
        await self._events.put(event)
