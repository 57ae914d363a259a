"""A run as a follower sees it: plain values, whatever service they are sent to."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Row:
    """One point of a run's history; steps rise."""

    step: int
    values: Mapping[str, float | int]


@dataclass(frozen=True)
class Artifact:
    """Files that belong to a run."""

    name: str
    kind: str
    aliases: tuple[str, ...] = ()
    folder: Path | None = None
    """Uploaded whole."""
    references: Mapping[str, str] = field(default_factory=dict)
    """Name -> URI of what stays where it is."""


@dataclass(frozen=True)
class TrackedRun:
    """What is to be sent of a trial, of the baseline, or of the sweep itself."""

    id: str
    name: str
    group: str
    job_type: str
    config: Mapping[str, Any]
    rows: Sequence[Row] = ()
    tags: tuple[str, ...] = ()
    summary: Mapping[str, Any] = field(default_factory=dict)
    ended: bool = False
    failed: bool = False
    table: Sequence[Sequence[Any]] = ()
    """The leaderboard, the heading first."""
    page: Path | None = None
    """An HTML file to show."""
    artifacts: tuple[Artifact, ...] = ()

    @property
    def state(self) -> str:
        """Changes when there is something new to send."""
        rows = [(row.step, sorted(row.values)) for row in self.rows]
        known = [rows, self.tags, dict(self.summary), self.ended, self.failed, list(self.table)]
        text = json.dumps(known, sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def run_id(birth: str, kind: str, number: int = 0) -> str:
    """The id of a run in the service: equal whenever the same thing is sent again.

    A trial that is continued after a crash is the same attempt, so its steps go on in the same run;
    a study that is begun anew (``overwrite=true``) has another ``birth``.
    """
    return hashlib.sha256(f"{birth}/{kind}/{number}".encode()).hexdigest()[:16]
