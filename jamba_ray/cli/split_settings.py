"""Splits command lines of two parts: ``submit.x=1`` is the command's own, ``n_trials=8`` the
sweep's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from jamba_ray.cli.overrides import parsed, read_text
from jamba_ray.config.mistakes import validate
from jamba_ray.config.section import Section
from jamba_ray.errors import ConfigError

S = TypeVar("S", bound=Section)


def split_settings(section: type[S], prefix: str, argv: Sequence[str]) -> tuple[S, list[str]]:
    """Returns (the command's own settings, the words for the sweep).

    Raises:
        ConfigError: The command's own settings have mistakes; the message lists them all.
    """
    own: dict[str, Any] = {}
    others = []
    for text in argv:
        name, equals, _ = text.partition("=")
        if not name.startswith(f"{prefix}."):
            others.append(text)
            continue
        if not equals:
            raise ConfigError([f"`{text}` must be written `{text}=<value>`."])
        own[name.removeprefix(f"{prefix}.")] = _value(section, text.removeprefix(f"{prefix}."))
    try:
        return validate(section, own), others
    except ConfigError as error:
        known = [
            f"`{prefix}.{mistake[1:]}" if mistake[0] == "`" else mistake
            for mistake in error.mistakes
        ]
        raise ConfigError(known) from None


def _value(section: type[Section], text: str) -> Any:
    """Returns the value that ``text`` sets; the validation refuses text that Hydra cannot parse."""
    if (found := read_text(section, text)) is not None:
        value = found[1]
    else:
        override = parsed(text)
        if override is None or override.is_sweep_override():
            return text.partition("=")[2]
        value = override.value()
    try:
        return OmegaConf.create({"value": value})["value"]
    except OmegaConfBaseException as error:
        first = str(error).strip().splitlines()[0]
        raise ConfigError([f"`{text}` cannot be read: {first}."]) from None
