"""Makes a token for the Ray that this process starts: for one run, readable by its owner alone."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from jamba_ray.cluster.ray_private import COMPILED_CONFIG, COMPILED_TOKEN

_MODE, _TOKEN, _PATH = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"


@contextlib.contextmanager
def own_token(folder: Path) -> Iterator[None]:
    """Makes a Ray that is started meanwhile require a token, which lies in ``folder`` (mode 0600).

    By default Ray writes ``~/.ray/auth_token`` for all runs, readable by all who may read the home
    folder; with it they can run code as its owner. Token settings in the environment are for
    clusters: they are removed meanwhile, hidden from what the run starts, and restored afterwards.
    """
    for private in (COMPILED_CONFIG, COMPILED_TOKEN):
        private.require()
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
    """Makes Ray in this process forget the mode and the token that it has read before."""
    COMPILED_CONFIG.require()("")
    COMPILED_TOKEN.require()().reset_cache()
