"""Reads the keys of trackers from a private file, for the one process that sends to a tracker.

On a cluster nothing else has them: an environment that Ray passes on is logged by its agents.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import MutableMapping
from pathlib import Path

from jamba_ray.errors import ConfigError

KEYS = Path(".jamba_ray") / "trackers.env"
"""Below the home folder; a line of it is ``WANDB_API_KEY=...``."""
_LINE = re.compile(r"(?P<name>[A-Z][A-Z0-9_]*)=(?P<value>\S.*)")
_NAME = re.compile(r"[A-Z][A-Z0-9_]*_(KEY|TOKEN|USERNAME|PASSWORD|URI|URL)")
_MOST_BYTES = 65_536


def keys(home: Path | None = None) -> dict[str, str]:
    """Returns the names and values of the file; empty: there is none.

    Raises:
        ConfigError: Others may read it, or a line is wrong; no sentence holds a value.
    """
    path = (home or Path.home()) / KEYS
    try:
        with open(path, "rb") as file:
            _refuse_open_to_others(path, os.fstat(file.fileno()))
            text = file.read(_MOST_BYTES + 1)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise _wrong(path, f"it cannot be read ({error.strerror})") from None
    if len(text) > _MOST_BYTES:
        raise _wrong(path, f"it has more than {_MOST_BYTES} bytes")
    found: dict[str, str] = {}
    for number, line in enumerate(text.decode("utf-8", "replace").splitlines(), 1):
        if not (line := line.strip()) or line.startswith("#"):
            continue
        parsed = _LINE.fullmatch(line)
        if parsed is None:
            raise _wrong(path, f"line {number} is none")
        if _NAME.fullmatch(parsed["name"]) is None:
            raise _wrong(path, f"line {number} sets {parsed['name']}, which is none of them")
        found[parsed["name"]] = parsed["value"].strip().strip("\"'")
    return found


def add_keys(environment: MutableMapping[str, str]) -> None:
    """Adds the file's names to an environment that lacks them; raises as ``keys`` does."""
    for name, value in keys().items():
        environment.setdefault(name, value)


def _refuse_open_to_others(path: Path, found: os.stat_result) -> None:
    """Refuses a file that anybody but its owner may read or change.

    The group may read one that root owns: so Kubernetes gives a Secret to a Pod that is not root.
    """
    mode = stat.S_IMODE(found.st_mode)
    is_given = found.st_uid == 0 != os.geteuid()
    if not stat.S_ISREG(found.st_mode):
        raise _wrong(path, "it is no file")
    if mode & (0o027 if is_given else 0o077):
        raise _wrong(path, f"others may read or change it (mode {mode:04o}): `chmod 600 {path}`")


def _wrong(path: Path, why: str) -> ConfigError:
    return ConfigError(
        [
            f"{path} must hold lines such as WANDB_API_KEY=... that only its owner can read (names "
            f"that end in _KEY, _TOKEN, _USERNAME, _PASSWORD, _URI or _URL), but {why}."
        ]
    )
