"""Logs each request as a line of JSON, without the values of features unless they are asked for."""

from __future__ import annotations

import json
import os
import sys
import time
from typing import IO, Any

from jamba_ray.errors import ConfigError


class RequestLog:
    """Writes lines to standard output or to a file; loses lines rather than requests."""

    def __init__(self, where: str | None) -> None:
        """Opens the log; ``where``: ``-``: standard output; None: nowhere.

        Raises:
            ConfigError: The file cannot be written.
        """
        self._stream: IO[str] | None = None
        self.lost = 0
        if where == "-":
            self._stream = sys.stdout
        elif where is not None:
            try:
                handle = os.open(where, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            except OSError as error:
                raise ConfigError(
                    [
                        f"`log` must be writable, but {where!r} is not "
                        f"({error.strerror or error}). Choose another file, or `log=-`."
                    ]
                ) from error
            self._stream = os.fdopen(handle, "w", encoding="utf-8")

    def write(self, event: str, **fields: Any) -> None:
        """Writes one line; fields that are None are left out."""
        if self._stream is None:
            return
        found = {key: value for key, value in fields.items() if value is not None}
        line = json.dumps({"time": round(time.time(), 3), "event": event, **found}, default=str)
        try:
            self._stream.write(line + "\n")
            self._stream.flush()
        except (OSError, ValueError):  # a full disk, a closed pipe
            self.lost += 1
