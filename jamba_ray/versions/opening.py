"""Opens a version: finds it in its model's log, and verifies every byte of what is used."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from jamba_ray.config.names import nearest
from jamba_ray.errors import NoRunError, RegistryError
from jamba_ray.versions.content import (
    EVIDENCE,
    MAX_BYTES,
    MODEL,
    PASSPORT,
    SCORES,
    Content,
    check_file,
    parse_content,
    refuse_extra,
)
from jamba_ray.versions.model_log import (
    ModelLog,
    known_log,
    last_of,
    refuse_unknown,
    version_path,
    vouched,
)
from jamba_ray.versions.place import Place
from jamba_ray.versions.reference import OpenVersion, Reference

UNSIGNED = (
    "The registry has no roles.json, so that who registered and promoted the version is not proven."
)


@dataclass(frozen=True)
class Found:
    """Holds a version that the log vouches for."""

    log: ModelLog
    number: int
    digest: str
    content: Content

    @property
    def path(self) -> str:
        """Returns its folder in the registry."""
        return version_path(self.log.name, self.number)

    @property
    def where(self) -> str:
        """Returns its place for messages."""
        return f"{self.log.place}/{self.path}"

    def read(self, name: str) -> bytes:
        """Returns a verified file; raises RegistryError."""
        expected = self.content.files[name]
        # One byte more than expected is enough to see that a file is too long.
        data = self.log.place.read(f"{self.path}/{name}", expected.size + 1)
        return check_file(name, data, expected, self.where)

    def json(self, name: str) -> Any:
        """Returns a verified JSON file; None where the version has none."""
        return json.loads(self.read(name)) if name in self.content.files else None


def find_version(log: ModelLog, number: int) -> Found:
    """Returns a version that was registered.

    Raises:
        NoRunError: There is none of this number.
        RegistryError: Its description was changed, or its folder holds other files.
    """
    digest = refuse_unknown(log, number)
    where = f"{log.place}/{version_path(log.name, number)}"
    raw = log.place.read(last_of(log.name, number), MAX_BYTES)
    if raw is None:
        raise RegistryError(
            f"{where} must be there since the log has registered it, but is missing. Restore it "
            "from a copy, or use another version."
        )
    content = parse_content(raw, digest, log.name, number, where)
    prefix = f"{version_path(log.name, number)}/"
    names = [one.removeprefix(prefix) for one in log.place.names(prefix.rstrip("/"))]
    refuse_extra(names, content, where)
    return Found(log, number, digest, content)


def number_of(log: ModelLog, reference: Reference) -> int:
    """Returns the number that a reference means.

    Raises:
        NoRunError: The model has no such alias.
        RegistryError: The alias was set before there were roles.
    """
    if reference.number is not None:
        return reference.number
    alias = str(reference.alias)
    number = log.log.aliases.get(alias)
    if number is None:
        known = log.log.aliases
        way_out = nearest(alias, known) or (
            f". Promote one: `jamba-ray registry promote name={log.name} alias={alias}`."
        )
        listed = ", ".join(sorted(known)) or "none"
        raise NoRunError(f"{log.where} must have the alias {alias!r}, but has {listed}{way_out}")
    if log.is_signed and log.log.setter_of(alias).roles is None:
        raise RegistryError(
            f"{log.where}: {alias!r} must have been set by a signed entry, but was set before "
            f"there were roles. Promote it again: `jamba-ray registry promote name={log.name} "
            f"version={number} alias={alias} key=<key.pem>`."
        )
    return number


def open_version(place: Place, reference: Reference) -> OpenVersion:
    """Opens a version; raises the errors of ``reference.opened``."""
    log = known_log(place, reference.name)
    log.refuse_unsigned()
    number = number_of(log, reference)
    vouched(log, number)
    found = find_version(log, number)
    notes = [] if log.is_signed else [UNSIGNED]
    if log.in_force is not None and log.in_force.signatures:
        from jamba_ray.versions.signing import check_model_signature

        check_model_signature(found, log.in_force)
    # The rows that judged the model are not needed to use it, and may be many.
    wanted = [one for one in found.content.files if one != f"{EVIDENCE}/{SCORES}"]
    files = {name: found.read(name) for name in wanted}
    folder = place.fetched(found.path, files, found.digest)
    return OpenVersion(
        name=reference.name,
        number=number,
        alias=reference.alias,
        folder=folder / MODEL,
        exports={kind: folder / name for kind, name in found.content.exports.items()},
        passport=json.loads(files[PASSPORT]) if PASSPORT in files else {},
        digest=found.digest,
        notes=tuple(notes),
    )
