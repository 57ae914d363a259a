"""Reads what a command line says: ``name=value`` in Hydra's syntax, or any text where the setting
is a text and Hydra cannot read it as one."""

from __future__ import annotations

import re
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from jamba_ray.config.section import Section
from jamba_ray.config.settings import TextSetting, text_setting

_PARSER = OverridesParser.create()


def parsed(text: str) -> Override | None:
    """``text`` as Hydra reads it; None where it cannot."""
    try:
        found = _PARSER.parse_override(text)
    except HydraException:
        return None
    return found if found.key_or_group else None


def read_text(section: type[Section], text: str) -> tuple[TextSetting, Any] | None:
    """(the setting, its value for OmegaConf) where ``text`` sets a text or a list of texts.

    What Hydra reads as text keeps Hydra's meaning: quotes, escapes, ``${...}``, lists. What it
    cannot read, or reads as a number, as true or false or as several runs, is taken letter by
    letter, because the type of the setting says that it is a text.
    """
    name, equals, value = text.partition("=")
    found = text_setting(section, name.removeprefix("+").removeprefix("+"))
    if found is None or not equals:
        return None
    if found.is_list:
        return found, _list(value)
    return found, _text(value, may_be_null=found.may_be_null)


def _text(value: str, *, may_be_null: bool) -> str | None:
    override = parsed(f"x={value}")
    if override is None or override.is_sweep_override():
        return _literal(value)
    plain = override.value()
    if isinstance(plain, str) or (plain is None and may_be_null):
        return plain
    return _literal(value)


def _list(value: str) -> Any:
    """The elements; a value that is no list is left as it is, for the validation to refuse."""
    override = parsed(f"x={value}")
    plain: Any = value
    if override is not None and not override.is_sweep_override():
        plain = override.value()
        if isinstance(plain, list) and all(isinstance(one, str) for one in plain):
            return plain
    inner = value.strip()
    if not (inner.startswith("[") and inner.endswith("]")):
        return plain
    return [_text(piece, may_be_null=False) for piece in _pieces(inner[1:-1])]


_PIECE = re.compile(
    r"""\s*((?:"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')(?=\s*(?:,|$))|[^,]*)(,|$)""", re.DOTALL
)
"""One element: quoted as a whole, or all up to the next comma."""


def _pieces(inner: str) -> list[str]:
    pieces, at = [], 0
    while inner.strip() and at <= len(inner):
        match = _PIECE.match(inner, at)
        assert match is not None  # `[^,]*` and then a comma or the end: one of them always fits
        pieces.append(match[1].strip())
        if not match[2]:
            break
        at = match.end()
    return pieces


def _literal(text: str) -> str:
    """``text`` so that OmegaConf finds nothing to fill in."""
    return re.sub(r"(\\*)\$\{", r"\1\1\\${", text)
