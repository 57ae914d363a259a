"""A clock whose time passes only where code sleeps by it."""

from __future__ import annotations


class Clock:
    def __init__(self) -> None:
        self.now, self.pauses = 100.0, []

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds

    def __call__(self) -> float:
        return self.now
