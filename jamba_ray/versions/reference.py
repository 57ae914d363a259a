"""Opens a version by its reference: ``threats@champion``, ``threats@3``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jamba_ray.config.names import DEFAULT_REGISTRY
from jamba_ray.errors import ConfigError

_REFERENCE = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]{0,63})@([A-Za-z0-9][A-Za-z0-9._-]{0,63})")


@dataclass(frozen=True)
class Reference:
    """Names a version of a model: by its number, or by a name that points at it."""

    name: str
    alias: str | None
    """Such as 'champion'; None: the number is given."""
    number: int | None

    def __str__(self) -> str:
        return f"{self.name}@{self.alias or self.number}"


@dataclass(frozen=True)
class OpenVersion:
    """Holds a version whose every byte was checked when it was opened."""

    name: str
    number: int
    alias: str | None
    """The name that the reference had; None: it had the number."""
    folder: Path
    """The checkpoint, with its thresholds and calibration, on this machine."""
    exports: Mapping[str, Path]
    """Format -> the exported file."""
    passport: Mapping[str, Any]
    """The CycloneDX document of the version."""
    digest: str = ""
    """SHA-256 of the list of its files, which no other version has."""
    notes: tuple[str, ...] = field(default=())
    """What was not checked, in sentences."""


def is_reference(text: str) -> bool:
    """Says whether a text is a reference: a name, '@' and a number or an alias."""
    return _REFERENCE.fullmatch(text) is not None


def parse_reference(text: str) -> Reference:
    """Returns the parts of a reference.

    Raises:
        ConfigError: It is none.
    """
    found = _REFERENCE.fullmatch(text)
    if found is None:
        raise ConfigError(
            [
                "a version must be given as name@alias or name@number, but is "
                f"{text!r}. Write for example `threats@champion` or `threats@3`."
            ]
        )
    name, which = found.groups()
    return Reference(name, None, int(which)) if which.isdigit() else Reference(name, which, None)


def opened(reference: str, registry: str = DEFAULT_REGISTRY) -> OpenVersion:
    """Opens a version and verifies its files, the log of its model and, where roles exist, the
    signatures.

    Raises:
        NoRunError: There is no such model, alias or version.
        RegistryError: Something was changed, removed or is not signed by who may.
        StorageError: The place cannot be read.
    """
    from jamba_ray.versions.opening import open_version
    from jamba_ray.versions.place import place_of

    return open_version(place_of(registry), parse_reference(reference))
