"""Decides which ``${...}`` a configuration may have.

A sweep file may come from a stranger, and its values go into names, logs and W&B.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from jamba_ray.errors import ConfigError

_VARIABLES = ("NSL_KDD", "HOME", "USER", "TMPDIR")
_PREFIX = "JAMBA_RAY_"
_SETTING = re.compile(r"\$\{[A-Za-z0-9_.]+\}")
_VARIABLE = re.compile(r"\$\{oc\.env:([A-Za-z0-9_]+)(?:,[^${}]*)?\}")


def refuse_foreign(node: Any, path: str = "") -> None:
    """Refuses every ``${...}`` except other settings and a few environment variables.

    Raises:
        ConfigError: A setting has another one; the message names it. None has been resolved yet.
    """
    if isinstance(node, Mapping):
        for key, value in node.items():
            refuse_foreign(value, f"{path}.{key}" if path else str(key))
    elif isinstance(node, list):
        for i, value in enumerate(node):
            refuse_foreign(value, f"{path}.{i}")
    elif isinstance(node, str) and "${" in _VARIABLE.sub(_dropped, _SETTING.sub("", node)):
        raise ConfigError(
            [
                f"`{path}` must hold no `${{...}}` but `${{<setting>}}` and "
                f"`${{oc.env:<{', '.join(_VARIABLES)} or {_PREFIX}*>}}`, but is {node[:80]!r}: "
                "another variable may be a secret. Write the value, or give the variable such a "
                "name."
            ]
        )


def _dropped(match: re.Match[str]) -> str:
    name = match[1]
    return "" if name in _VARIABLES or name.startswith(_PREFIX) else match[0]
