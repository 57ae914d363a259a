"""Holds what a gate found: whether a version may be promoted, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Gate:
    """Holds one gate's verdict."""

    name: str
    passes: bool
    words: str
    """What was found, with the value and the limit."""
    setting: str
    """The setting that says what is demanded, as it was."""
    values: Mapping[str, Any] = field(default_factory=dict)
    """The numbers, strict JSON."""

    def to_json(self) -> dict[str, Any]:
        """Returns what the log keeps."""
        return {
            "name": self.name,
            "passes": self.passes,
            "words": self.words,
            "setting": self.setting,
            "values": dict(self.values),
        }
