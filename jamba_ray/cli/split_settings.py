"""Command lines of two parts: ``submit.x=1`` is the command's own, ``n_trials=8`` the sweep's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import yaml

from jamba_ray.config.mistakes import validate
from jamba_ray.config.section import Section
from jamba_ray.errors import ConfigError

S = TypeVar("S", bound=Section)


def split_settings(section: type[S], prefix: str, argv: Sequence[str]) -> tuple[S, list[str]]:
    """(the command's own settings, what is the sweep's).

    Raises:
        ConfigError: With every mistake in the command's own settings.
    """
    own: dict[str, Any] = {}
    others = []
    for text in argv:
        name, equals, value = text.partition("=")
        if not name.startswith(f"{prefix}."):
            others.append(text)
            continue
        if not equals:
            raise ConfigError([f"`{text}` must be written `{text}=<value>`."])
        try:
            own[name.removeprefix(f"{prefix}.")] = yaml.safe_load(value)
        except yaml.YAMLError:
            own[name.removeprefix(f"{prefix}.")] = value
    try:
        return validate(section, own), others
    except ConfigError as error:
        known = [
            f"`{prefix}.{mistake[1:]}" if mistake[0] == "`" else mistake
            for mistake in error.mistakes
        ]
        raise ConfigError(known) from None
