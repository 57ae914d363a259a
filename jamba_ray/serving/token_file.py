"""Keeps the token that requests must carry: in a file that its owner alone may read."""

from __future__ import annotations

import os
import secrets
import stat
from hmac import compare_digest
from pathlib import Path

from jamba_ray.errors import ConfigError

_LEAST = 16
"""Letters of a token at least."""


def tokens_of(path: Path) -> tuple[bytes, ...]:
    """Returns the tokens of a file, one a line: two while one is replaced by another.

    Raises:
        ConfigError: There is none, or others may read it.
    """
    try:
        mode = path.stat().st_mode
        lines = path.read_text("utf-8").split()
    except FileNotFoundError as error:
        raise ConfigError(
            [
                f"`token_file` must name a file with the server's token, but {str(path)!r} does "
                "not exist. Copy it from where the server made it."
            ]
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not text"
        raise ConfigError(
            [
                f"`token_file` must be a readable file, but {str(path)!r} is not ({why}). Give "
                "another."
            ]
        ) from error
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigError(
            [
                f"`token_file` must be readable by its owner alone, but {str(path)!r} has mode "
                f"{stat.S_IMODE(mode):04o}. Run `chmod 600 {path}`."
            ]
        )
    if not lines or min(map(len, lines)) < _LEAST:
        raise ConfigError(
            [
                f"`token_file` must hold tokens of {_LEAST} letters or more, one a line, but "
                f"{str(path)!r} holds {'a shorter one' if lines else 'none'}. Delete it, and the "
                "server makes one."
            ]
        )
    return tuple(line.encode() for line in lines)


def make_token(path: Path) -> bool:
    """Writes a new token, unless the file exists; says whether it did.

    Raises:
        ConfigError: The file cannot be written.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(32) + "\n")
    except FileExistsError:
        return False
    except OSError as error:
        raise ConfigError(
            [
                f"`token_file` must be writable, but {str(path)!r} is not "
                f"({error.strerror or error}). Choose another."
            ]
        ) from error
    return True


def is_allowed(header: str | None, tokens: tuple[bytes, ...]) -> bool:
    """Says whether a header ``Authorization`` carries one of the tokens."""
    kind, _, given = (header or "").partition(" ")
    if kind.lower() != "bearer":
        return False
    raw = given.strip().encode("utf-8", "surrogatepass")
    return any(compare_digest(raw, token) for token in tokens)
