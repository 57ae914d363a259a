"""Parses the settings of a command line: ``name=value`` in Hydra's syntax, or plain text.

Plain text is accepted where the setting is a text and Hydra cannot read the value as one.
"""

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
    """Returns ``text`` as Hydra parses it; None where it cannot."""
    try:
        found = _PARSER.parse_override(text)
    except HydraException:
        return None
    return found if found.key_or_group else None


def read_text(section: type[Section], text: str) -> tuple[TextSetting, Any] | None:
    """Returns (setting, value for OmegaConf) where ``text`` sets a text or a list of texts, else
    None.

    What Hydra parses as text keeps Hydra's meaning: quotes, escapes, ``${...}``, lists. What it
    cannot parse, or parses as a number, a truth value or several runs, is taken literally, because
    the type of the setting is text.
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
    """Returns the elements of a list; other values are unchanged, so that the validation refuses
    them."""
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
"""Matches one element: quoted as a whole, or all text up to the next comma."""


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
    """Escapes ``text`` so that OmegaConf replaces nothing in it."""
    return re.sub(r"(\\*)\$\{", r"\1\1\\${", text)
