"""Stores what a follower has sent: a file of JSON in the run folder, replaced atomically."""

from __future__ import annotations

import json
import os
import tempfile
import uuid
from pathlib import Path
from typing import Any


def cursor_file(tracker: str) -> str:
    """Returns the name of a tracker's file: no two processes write one file."""
    return "tracking.json" if tracker == "wandb" else f"tracking-{tracker}.json"


class Cursor:
    """Records which runs a follower has sent.

    If the file is lost, no row is lost: the service is asked which rows it has.
    """

    def __init__(self, run_folder: Path, tracker: str = "wandb") -> None:
        self._path = run_folder / cursor_file(tracker)
        found: dict[str, Any] = {}
        try:
            loaded = json.loads(self._path.read_text(encoding="utf-8"))
            found = loaded if isinstance(loaded, dict) else {}
        except (OSError, ValueError):
            pass
        self.birth: str = str(found.get("birth") or uuid.uuid4().hex)
        """Identifies the run where there is no study whose time of creation does."""
        self._sent: dict[str, dict[str, str]] = found.get("sent", {})
        self.problem: str | None = found.get("problem")
        """Why the last attempt failed."""
        self.pending: int = int(found.get("pending", 0))
        """The number of runs that were not completely sent at the last check."""
        self.complete = bool(found.get("complete", False))
        """Whether the run had ended at the last check and all of it was sent."""
        self.url: str | None = found.get("url")
        """Where the tracker shows the run; None: nowhere yet."""

    def has(self, how: str, run: str, state: str) -> bool:
        """Says whether exactly this state of a run was sent (``how``: 'online' or 'offline')."""
        return self._sent.get(how, {}).get(run) == state

    def note(self, how: str, run: str, state: str) -> None:
        """Records that the service has acknowledged this state of a run, or that its file is
        complete."""
        self._sent.setdefault(how, {})[run] = state
        self.save()

    def stand(self, pending: int, problem: str | None, *, complete: bool = False) -> None:
        """Records the progress of the follower for other processes to read."""
        if (pending, problem, complete) != (self.pending, self.problem, self.complete):
            self.pending, self.problem, self.complete = pending, problem, complete
            self.save()

    def shown_at(self, url: str | None) -> None:
        """Records where the tracker shows the run."""
        if url is not None and url != self.url:
            self.url = url
            self.save()

    def save(self) -> None:
        """Writes the file so that a reader sees either the old file or the complete new one."""
        value = {
            "birth": self.birth,
            "pending": self.pending,
            "problem": self.problem,
            "complete": self.complete,
            "url": self.url,
            "sent": self._sent,
        }
        handle, temporary = tempfile.mkstemp(prefix=f".{self._path.name}.", dir=self._path.parent)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(value, file, indent=1, allow_nan=False)
        os.chmod(temporary, 0o644)
        os.replace(temporary, self._path)
