"""Counts what a server does, by version, and writes it in the text format of Prometheus."""

from __future__ import annotations

import os
import time
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

TEXT = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_SCORES = tuple(i / 10 for i in range(1, 11))
_KEPT = 8
"""Versions that do not answer any more and are still listed; more would grow without end."""


@dataclass
class Histogram:
    """Counts values up to each of some bounds."""

    bounds: Sequence[float]
    counts: list[int] = field(default_factory=list)
    total: float = 0.0

    def __post_init__(self) -> None:
        self.counts = [0] * (len(self.bounds) + 1)

    def add(self, value: float) -> None:
        """Counts one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def add_all(self, values: npt.NDArray[np.float64]) -> None:
        """Counts values [N]."""
        if len(values) == 1:
            self.add(float(values[0]))
            return
        at = np.searchsorted(self.bounds, values, side="left")
        for i, n in enumerate(np.bincount(at, minlength=len(self.counts)).tolist()):
            self.counts[i] += n
        self.total += float(values.sum())

    def lines(self, name: str, labels: str) -> list[str]:
        """Returns its lines, each bucket with all that are less."""
        sums = np.cumsum(self.counts).tolist()
        comma = "," if labels else ""
        ends = [*(f"{bound:g}" for bound in self.bounds), "+Inf"]
        found = [
            f'{name}_bucket{{{labels}{comma}le="{end}"}} {n}'
            for end, n in zip(ends, sums, strict=True)
        ]
        braces = f"{{{labels}}}" if labels else ""
        return [*found, f"{name}_sum{braces} {self.total!r}", f"{name}_count{braces} {sums[-1]}"]


@dataclass
class OfVersion:
    """Counts what one version did in one role."""

    rows: int = 0
    alerts: int = 0
    requests: int = 0
    errors: int = 0
    seconds: Histogram = field(default_factory=lambda: Histogram(_SECONDS))
    scores: Histogram = field(default_factory=lambda: Histogram(_SCORES))
    shadow_flips: int = 0
    """Rows on which a shadow has another verdict than the answer."""
    shadow_dropped: int = 0
    """Requests that a shadow was too slow for."""

    def scored(self, score: npt.NDArray[np.float64], alert: npt.NDArray[np.int64]) -> None:
        """Counts rows [N]."""
        self.requests += 1
        self.rows += len(score)
        self.alerts += int(alert.sum())
        self.scores.add_all(score)


class Metrics:
    """Holds all counts of a server."""

    def __init__(self) -> None:
        self._versions: dict[tuple[str, str], OfVersion] = {}
        self._answers: dict[tuple[str, int], int] = {}
        self.swaps = self.swap_failures = self.rollbacks = 0
        self._begun = time.time()

    def of(self, version: str, role: str) -> OfVersion:
        """Returns the counts of a version in a role: champion, canary, ab or shadow."""
        found = self._versions.get((version, role))
        if found is None:
            found = self._versions[version, role] = OfVersion()
        return found

    def forget(self, current: Sequence[tuple[str, str]]) -> None:
        """Drops the oldest versions that are not among the ``current`` ones."""
        gone = [key for key in self._versions if key not in current]
        for key in gone[: max(0, len(gone) - _KEPT)]:
            del self._versions[key]

    def answered(self, route: str, status: int) -> None:
        """Counts an answer."""
        key = (route, status)
        self._answers[key] = self._answers.get(key, 0) + 1

    def text(self, current: Mapping[str, str]) -> str:
        """Returns all metrics; ``current``: role -> the version that has it now."""
        lines = [
            *_head("jamba_ray_answers_total", "counter", "Answers by route and status."),
            *(
                f'jamba_ray_answers_total{{route="{route}",code="{code}"}} {n}'
                for (route, code), n in sorted(self._answers.items())
            ),
            *_head("jamba_ray_model_info", "gauge", "The version that has a role now."),
            *(
                f"jamba_ray_model_info{{{_labels(version, role)}}} 1"
                for role, version in current.items()
            ),
        ]
        counts = (
            ("requests", "Requests in which a version scored rows."),
            ("rows", "Rows that a version scored."),
            ("alerts", "Rows at or above the threshold."),
            ("errors", "Requests on which a version failed."),
            ("shadow_flips", "Rows on which a shadow has another verdict than the answer."),
            ("shadow_dropped", "Requests that a shadow was too slow for."),
        )
        for name, about in counts:
            full = f"jamba_ray_{name}_total"
            lines += _head(full, "counter", about)
            lines += [
                f"{full}{{{_labels(*key)}}} {getattr(one, name)}"
                for key, one in self._versions.items()
            ]
        for name, about in (("seconds", "Seconds of a request."), ("scores", "Scores of rows.")):
            full = "jamba_ray_request_seconds" if name == "seconds" else "jamba_ray_score"
            lines += _head(full, "histogram", about)
            for key, one in self._versions.items():
                histogram: Histogram = getattr(one, name)
                lines += histogram.lines(full, _labels(*key))
        for name, about in (
            ("swaps", "Models that took the place of another."),
            ("swap_failures", "Models that could not be loaded; the one before went on."),
            ("rollbacks", "Canaries that were taken back."),
        ):
            full = f"jamba_ray_{name}_total"
            lines += [*_head(full, "counter", about), f"{full} {getattr(self, name)}"]
        lines += _head("process_start_time_seconds", "gauge", "Start of the process.")
        lines.append(f"process_start_time_seconds {self._begun!r}")
        if (memory := _memory()) is not None:
            lines += _head("process_resident_memory_bytes", "gauge", "Resident memory.")
            lines.append(f"process_resident_memory_bytes {memory}")
        return "\n".join(lines) + "\n"


def _head(name: str, kind: str, about: str) -> list[str]:
    return [f"# HELP {name} {about}", f"# TYPE {name} {kind}"]


def _labels(version: str, role: str) -> str:
    text = version.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'version="{text}",role="{role}"'


def _memory() -> int | None:
    """Returns the resident memory of this process in bytes; None where the system does not say."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None
