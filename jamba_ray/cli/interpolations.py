"""Decides which ``${...}`` a configuration may have.

A sweep file may come from a stranger, and its values go into names, logs and W&B. So variables of
the environment are named here, and what makes text to settings (``oc.create``, ``oc.decode``) could
read others: a file can put the text together from harmless pieces.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from jamba_ray.errors import ConfigError

_VARIABLES = ("NSL_KDD", "HOME", "USER", "TMPDIR")
_PREFIX = "JAMBA_RAY_"
_DONE = "\0"
"""Stands for what was found harmless: it is no part of a name."""
_PATH = r"[A-Za-z0-9_.]+"
_ENV = r"oc\.env:(?P<name>[A-Za-z0-9_]+)(?:,[^${}]*)?"
_DECODED = re.compile(rf"\$\{{oc\.decode:\$\{{{_ENV}\}}\}}")
_HARMLESS = re.compile(
    rf"\$\{{(?:{_PATH}|{_ENV}|now:[^${{}}\0]*|python_version:(?:major|minor|micro)?"
    rf"|oc\.select:{_PATH}(?:,[^${{}}]*)?|oc\.(?:dict\.keys|dict\.values|deprecated):{_PATH})\}}"
)
_KNOWN = (
    "`${<setting>}`, "
    f"`${{oc.env:<{', '.join(_VARIABLES)} or {_PREFIX}*>}}`, `${{oc.decode:${{oc.env:...}}}}` of "
    "these, `${now:<format>}`, `${oc.select:<setting>,<default>}`, `${oc.dict.keys:<setting>}`, "
    "`${oc.dict.values:<setting>}`, `${oc.deprecated:<setting>}` and `${python_version:}`"
)
_WHY = {
    "oc.env": "another variable may be a secret. Write the value, or give the variable such a name",
    "oc.decode": "text that is read as settings may name a secret. Write the value",
    "oc.create": "text that is read as settings may name a secret. Write the value",
    "hydra": "no job of Hydra's runs here. Write the value, or use `run` and `store`",
}
_RESOLVER = re.compile(r"\$\{\s*([A-Za-z_][\w.]*)\s*:")


def refuse_foreign(node: Any, path: str = "") -> None:
    """Refuses every ``${...}`` except other settings and resolvers that read no secret.

    Raises:
        ConfigError: A setting has another one; the message names it. None has been resolved yet.
    """
    if isinstance(node, Mapping):
        for key, value in node.items():
            refuse_foreign(value, f"{path}.{key}" if path else str(key))
    elif isinstance(node, list):
        for i, value in enumerate(node):
            refuse_foreign(value, f"{path}.{i}")
    elif isinstance(node, str) and "${" in (left := _without_harmless(node)):
        found = _RESOLVER.search(left)
        why = _WHY.get(found[1] if found else "", "nothing else is known here. Write the value")
        raise ConfigError(
            [f"`{path}` must hold no `${{...}}` but {_KNOWN}, but is {node[:80]!r}: {why}."]
        )


def _without_harmless(text: str) -> str:
    """Returns a text in which what may stay is marked, from the inside out."""
    text = _DECODED.sub(_marked, text)
    while (left := _HARMLESS.sub(_marked, text)) != text:
        text = left
    return text


def _marked(match: re.Match[str]) -> str:
    name = match["name"]
    is_known = name is None or name in _VARIABLES or name.startswith(_PREFIX)
    return _DONE if is_known else match[0]
