"""How far a follower has come: ``tracking.json`` in the run folder, replaced as a whole."""

from __future__ import annotations

import json
import os
import tempfile
import uuid
from pathlib import Path
from typing import Any

FILE = "tracking.json"


class Cursor:
    """The follower's memory. Losing it costs time, not rows: the service is asked what it has."""

    def __init__(self, run_folder: Path) -> None:
        self._path = run_folder / FILE
        found: dict[str, Any] = {}
        try:
            loaded = json.loads(self._path.read_text(encoding="utf-8"))
            found = loaded if isinstance(loaded, dict) else {}
        except (OSError, ValueError):
            pass
        self.birth: str = str(found.get("birth") or uuid.uuid4().hex)
        """Stands for the run where there is no study to date it."""
        self._sent: dict[str, dict[str, str]] = found.get("sent", {})
        self.problem: str | None = found.get("problem")
        """Why the last attempt did not get through."""
        self.pending: int = int(found.get("pending", 0))
        """Runs not sent whole at the last look."""
        self.complete = bool(found.get("complete", False))
        """Whether the last look was at a run that had ended, and all of it was sent."""

    def has(self, how: str, run: str, state: str) -> bool:
        """Whether this very state of a run was sent (``how``: 'online' or 'offline')."""
        return self._sent.get(how, {}).get(run) == state

    def note(self, how: str, run: str, state: str) -> None:
        """The service has acknowledged this state of a run, or its file is complete."""
        self._sent.setdefault(how, {})[run] = state
        self.save()

    def stand(self, pending: int, problem: str | None, *, complete: bool = False) -> None:
        """How the follower stands, for whoever asks."""
        if (pending, problem, complete) != (self.pending, self.problem, self.complete):
            self.pending, self.problem, self.complete = pending, problem, complete
            self.save()

    def save(self) -> None:
        """Write the file so that a reader sees the old one or the whole new one."""
        value = {
            "birth": self.birth,
            "pending": self.pending,
            "problem": self.problem,
            "complete": self.complete,
            "sent": self._sent,
        }
        handle, temporary = tempfile.mkstemp(prefix=f".{FILE}.", dir=self._path.parent)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(value, file, indent=1, allow_nan=False)
        os.chmod(temporary, 0o644)
        os.replace(temporary, self._path)
