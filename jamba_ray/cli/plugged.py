"""Imports the plug-ins of a composed configuration, before it is validated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from jamba_ray.config import plugin_modules
from jamba_ray.config.family import FAMILIES
from jamba_ray.config.plugins import TRACKERS
from jamba_ray.config.section import Section
from jamba_ray.config.settings import choices_of

_NAMED = ("objective", "training.loss", "sampler.name", "pruner.name")
"""Settings that may have names of plug-ins, besides those of model families."""


def with_plugins(section: type[Section], tree: Mapping[str, Any]) -> dict[str, Any]:
    """Imports what ``tree`` names as plug-ins, and installed ones that offer a name in it; returns
    it with the version and digest of each.

    Raises:
        ConfigError: One is missing or raises.
    """
    found = dict(tree)
    if "plugins" not in section.model_fields:
        return found
    given = found.get("plugins") or []
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        return found  # the validation says so
    loaded = plugin_modules.load(texts)
    more = plugin_modules.load_installed(set(_unknown(section, found)))
    if loaded or more:
        found["plugins"] = list(dict.fromkeys([*loaded, *more]))
    return found


def _unknown(section: type[Section], tree: Mapping[str, Any]) -> Iterator[str]:
    """Yields the names in ``tree`` that nothing here has registered."""
    space = tree.get("search_space")
    families = [
        _at(tree, "model.name"),
        *_listed(tree.get("rivals")),
        *_listed(_at(space, "model.name.choices")),
    ]
    yield from (name for name in families if isinstance(name, str) and name not in FAMILIES)
    also = _listed(_at(tree, "tracking.also"))
    yield from (name for name in also if isinstance(name, str) and name not in TRACKERS)
    for path in _NAMED:
        for name in _listed(_at(tree, path)):
            if isinstance(name, str) and name not in choices_of(section, path):
                yield name


def _at(tree: Any, path: str) -> Any:
    for part in path.split("."):
        tree = tree.get(part) if isinstance(tree, Mapping) else None
    return tree


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]
