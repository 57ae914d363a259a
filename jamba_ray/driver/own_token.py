"""A token for the Ray that this process starts: no other run's, and readable by its owner alone."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_MODE, _TOKEN, _PATH = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"


@contextlib.contextmanager
def own_token(folder: Path) -> Iterator[None]:
    """Makes the Ray that is started meanwhile ask for a token that lies in ``folder`` (0600).

    Left to itself, Ray writes ``~/.ray/auth_token`` for all runs, readable by whoever may read the
    home: who has it runs code as its owner. What the environment says of tokens is for clusters; it
    is set aside, hidden from what the run starts, and is back afterwards.
    """
    path = folder / "auth_token"
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(secrets.token_hex(32))
    before = {name: os.environ.pop(name, None) for name in (_MODE, _TOKEN, _PATH)}
    os.environ |= {_MODE: "token", _PATH: str(path)}
    _read_anew()
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
        _read_anew()


def _read_anew() -> None:
    """Lets Ray in this process forget the mode and the token that it has read before."""
    from ray import _raylet

    compiled: Any = _raylet
    compiled.Config.initialize("")
    compiled.AuthenticationTokenLoader.instance().reset_cache()
