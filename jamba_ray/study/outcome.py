"""Defines how a trial ended, as plain values that a runner sends to its study or its command."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class TrialOutcome:
    """Holds how one trial ended and where its weights are; ``training.Outcome`` has the weights."""

    number: int
    state: Literal["complete", "pruned", "failed", "stopped"]
    reason: str | None = None
    value: float | None = None
    """The objective on all validation rows."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    best_step: int = 0
    rows_seen: int = 0
    epochs: float = 0.0
    seconds: float = 0.0
    goodput_s: float = 0.0
    checkpoint: str | None = None
    """Path of the best weights relative to the run folder's ``checkpoints/``."""
