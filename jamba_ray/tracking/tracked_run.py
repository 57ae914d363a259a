"""Defines a run as plain values, independent of the service to which it is sent."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Row:
    """Holds one point of a run's history; steps increase."""

    step: int
    values: Mapping[str, float | int]


@dataclass(frozen=True)
class Artifact:
    """Holds the files that belong to a run."""

    name: str
    kind: str
    aliases: tuple[str, ...] = ()
    folder: Path | None = None
    """Uploaded with all its files."""
    references: Mapping[str, str] = field(default_factory=dict)
    """Name -> URI of files that are linked and not uploaded."""


@dataclass(frozen=True)
class TrackedRun:
    """Holds all that is sent of a trial, of the baseline, or of the sweep itself."""

    id: str
    name: str
    group: str
    job_type: str
    config: Mapping[str, Any]
    rows: Sequence[Row] = ()
    tags: tuple[str, ...] = ()
    summary: Mapping[str, Any] = field(default_factory=dict)
    sweep: str | None = None
    """The id of the run of its sweep; None for that run itself, and where there is none."""
    ended: bool = False
    failed: bool = False
    table: Sequence[Sequence[Any]] = ()
    """The rows of the leaderboard; the first is the heading."""
    page: Path | None = None
    """An HTML file that the service displays."""
    artifacts: tuple[Artifact, ...] = ()

    @property
    def state(self) -> str:
        """Returns a hash that changes when there is something new to send."""
        rows = [(row.step, sorted(row.values)) for row in self.rows]
        known = [rows, self.tags, dict(self.summary), self.ended, self.failed, list(self.table)]
        text = json.dumps(known, sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def run_id(birth: str, kind: str, number: int = 0) -> str:
    """Returns the id of a run in the service, the same each time the same run is sent.

    A trial that is continued after a crash is the same attempt, so its steps continue in the same
    run. A study that is begun anew (``overwrite=true``) has another ``birth``.
    """
    return hashlib.sha256(f"{birth}/{kind}/{number}".encode()).hexdigest()[:16]
