"""Keeps the history of a chaos run in an append-only file that no other code uses.

Each process appends one line per event in a single ``write``; what was acknowledged is written only
after the acknowledgement. The checker judges the study by this file, not by the study's own
records.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Event:
    """Holds one line of the history."""

    at: float
    """Unix time."""
    name: str
    """'begin', 'step' (by a runner), 'ray up', 'up', 'finished' (by the driver), 'fault'."""
    trial: int | None = None
    more: dict[str, Any] = field(default_factory=dict)


class History:
    """Appends to and reads ``path``."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)

    def note(self, name: str, trial: int | None = None, **more: Any) -> None:
        """Appends an event, which is on the disk when this returns."""
        line = json.dumps([time.time(), name, trial, more], allow_nan=False) + "\n"
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(descriptor, line.encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def events(self) -> list[Event]:
        """Returns every whole line, in the order written."""
        try:
            text = self.path.read_text()
        except FileNotFoundError:
            return []
        whole = [line for line in text.split("\n")[:-1] if line]
        return [Event(*json.loads(line)) for line in whole]
