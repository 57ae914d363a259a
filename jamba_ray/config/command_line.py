"""Writes settings and commands so that a shell and our parser read them back."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel

_PLAIN = re.compile(r"(?!(?:null|true|false|inf|nan)$)[A-Za-z/][A-Za-z0-9_./:-]*", re.IGNORECASE)
"""Texts that mean themselves without quotes, whatever the type of the setting."""


def override(name: str, value: Any) -> str:
    """Writes one setting, not yet quoted for a shell: ``data.path="/d/run=3/f.csv"``."""
    return f"{name}={_written(value)}"


def command(name: str, *words: str) -> str:
    """Writes the command line ``jamba-ray <name> <words>``, quoted for a shell."""
    return shlex.join(["jamba-ray", name, *words])


def given(section: BaseModel, *names: str) -> list[str]:
    """Writes those of the settings that the user has given, for a command that may follow."""
    return [
        override(name, getattr(section, name)) for name in names if name in section.model_fields_set
    ]


def setting(name: str, value: Any) -> str:
    """Writes one setting quoted for a shell, for sentences: ``'data.drop=["dst port[tcp]"]'``."""
    return shlex.quote(override(name, value))


def _written(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{_written(item)}" for key, item in value.items()) + "}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ",".join(map(_written, value)) + "]"
    text = str(value)
    return text if _PLAIN.fullmatch(text) else _quoted(text)


def _quoted(text: str) -> str:
    """Quotes a text for Hydra and OmegaConf.

    Hydra reads backslashes before a quote, OmegaConf those before ``${``.
    """
    text = re.sub(r"(\\*)\$\{", r"\1\1\\${", text)
    text = re.sub(r'(\\*)"', r'\1\1\\"', text)
    return '"' + re.sub(r"(\\*)\Z", r"\1\1", text, count=1) + '"'
