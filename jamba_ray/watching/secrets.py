"""Reads secrets from the environment, or from a file that its owner alone can read."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from jamba_ray.errors import ConfigError

_MAX_BYTES = 4096


def secret_of(variable: str | None, file: str | None, what: str) -> str | None:
    """Returns the secret that a variable or a file holds; None where neither is named.

    Raises:
        ConfigError: It is not set, or others can read the file. The message never holds it.
    """
    if variable is not None:
        if not (value := os.environ.get(variable, "").strip()):
            raise ConfigError([f"{what} must be in the variable `{variable}`, but it is not set."])
        return value
    if file is None:
        return None
    path = Path(file).expanduser()
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(handle, "rb") as opened:
            mode = os.fstat(opened.fileno()).st_mode
            value = opened.read(_MAX_BYTES).decode("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise ConfigError(
            [f"{what} must be in {str(path)!r}, but cannot be read ({why})."]
        ) from None
    if stat.S_IMODE(mode) & 0o077:
        raise ConfigError(
            [f"{str(path)!r} must be readable by its owner alone. Do `chmod 600 {path}`."]
        )
    if not value:
        raise ConfigError([f"{what} must be in {str(path)!r}, but the file is empty."])
    return value
