"""Measures how long training takes, and how much of it is steps, without making the device wait."""

from __future__ import annotations

import time

import torch


class Stopwatch:
    """Measures wall time and step time since the last lap.

    On a CPU a step is timed where it runs. On CUDA work is queued, so the time between two events
    around the whole interval is taken instead; it is read at a report, when the device is idle.
    """

    def __init__(self, device: str) -> None:
        self._is_cuda = torch.device(device).type == "cuda"
        self._lap = time.perf_counter()
        self._begun = self._step_s = 0.0
        self._events: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []

    def start(self) -> None:
        """Starts a report interval."""
        if self._is_cuda:
            self._events.append((self._event(), self._event()))
            self._events[-1][0].record()

    def stop(self) -> None:
        """Notes that the interval's last step is queued."""
        if self._is_cuda:
            self._events[-1][1].record()

    def begin_step(self) -> None:
        """Notes that the forward pass begins."""
        self._begun = time.perf_counter()

    def end_step(self) -> None:
        """Notes that the optimizer is done (CPU) or queued (CUDA)."""
        if not self._is_cuda:
            self._step_s += time.perf_counter() - self._begun

    @staticmethod
    def _event() -> torch.cuda.Event:
        return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]

    def lap(self) -> tuple[float, float]:
        """Returns (wall seconds, step seconds) since the last lap; call it when the device is
        idle."""
        now = time.perf_counter()
        for first, last in self._events:
            last.synchronize()
            self._step_s += first.elapsed_time(last) / 1000.0
        seconds, step_s = now - self._lap, self._step_s
        self._lap, self._step_s, self._events = now, 0.0, []
        return seconds, step_s
