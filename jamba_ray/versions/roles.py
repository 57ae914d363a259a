"""Decides who may do what: ``roles.json`` names people, their public keys and their rights."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jamba_ray.errors import RegistryError
from jamba_ray.versions import keys
from jamba_ray.versions.log_entries import ACTIONS, AUDIT, Entry, Log
from jamba_ray.versions.place import Place

ROLES = "roles.json"
PINNED = "JAMBA_RAY_ROLES"
"""The environment variable with a file of the roles that this reader demands: who can write the
registry cannot change that file."""
_MAX_BYTES = 1_000_000


@dataclass(frozen=True)
class Person:
    """Holds who owns a key and what that key may do."""

    name: str
    public_key: str
    may: tuple[str, ...]


@dataclass(frozen=True)
class Roles:
    """Holds the people by the fingerprints of their keys."""

    people: Mapping[str, Person]
    text: str
    signatures: bool = False
    """Whether each version needs a signature of the model itself (``registry sign``)."""

    @property
    def digest(self) -> str:
        """Returns the SHA-256 of the text."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    def who_may(self, action: str) -> str:
        """Returns the names of those who may do something, for messages."""
        return ", ".join(p.name for p in self.people.values() if action in p.may) or "nobody"


def parse_roles(text: str, where: str) -> Roles:
    """Parses the text of ``roles.json``.

    Raises:
        RegistryError: It is not of the form that is documented.
    """
    keys.needed()
    try:
        tree = json.loads(text)
        if tree["format"] != 1 or set(tree) - {"format", "people", "signatures"}:
            raise ValueError("it must have `format` 1, `people` and, if wanted, `signatures`")
        signatures = tree.get("signatures", "optional")
        if signatures not in ("optional", "required"):
            raise ValueError("`signatures` must be 'optional' or 'required'")
        people = {}
        for name, one in tree["people"].items():
            may = tuple(one["may"])
            if unknown := set(may) - set(ACTIONS):
                raise ValueError(f"{name} may {sorted(unknown)[0]!r}, which is no action")
            people[keys.fingerprint(one["public_key"])] = Person(name, one["public_key"], may)
        if len(people) != len(tree["people"]):
            raise ValueError("two people have one key")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        why = f"{error} is missing" if isinstance(error, KeyError) else error
        raise RegistryError(
            f"{where} must name people with `public_key` and `may` (some of {', '.join(ACTIONS)}), "
            f"but does not: {why}. Write it as docs/how-to/registry.md shows."
        ) from None
    return Roles(people, text, signatures == "required")


def present_roles(place: Place) -> Roles | None:
    """Returns the roles that hold: those of the file that this reader demands, else those of the
    registry; None: there are none.

    Raises:
        RegistryError: The file cannot be read.
    """
    pinned = os.environ.get(PINNED)
    if pinned:
        try:
            return parse_roles(Path(pinned).read_text(encoding="utf-8"), pinned)
        except (OSError, UnicodeError) as error:
            raise RegistryError(
                f"{PINNED} must name a file of roles, but {pinned!r} cannot be read ({error}). "
                "Restore the file, or unset the variable."
            ) from error
    raw = place.read(ROLES, _MAX_BYTES)
    if raw is None:
        return None
    return parse_roles(raw.decode("utf-8", errors="replace"), f"{place}/{ROLES}")


def check_signatures(log: Log, where: str) -> Roles | None:
    """Checks that each entry since roles are in force is signed by somebody who may.

    Returns the roles in force after the last entry; None: there are none.

    Raises:
        RegistryError: An entry is not signed, or not by somebody who may.
    """
    in_force: Roles | None = None
    for entry in log.entries:
        if entry.action == "roles":
            text = f"{where}/{AUDIT}: the roles of entry {entry.number}"
            new = parse_roles(entry.roles_text or "", text)
            _check(entry, in_force or new, "roles", where)
            in_force = new
        elif in_force is not None:
            _check(entry, in_force, entry.action, where)
        if entry.roles != (None if in_force is None else in_force.digest):
            raise RegistryError(
                f"{where}/{AUDIT}: entry {entry.number} must be under the roles that are in force, "
                "but names others. Restore the folder from a copy that verifies."
            )
    return in_force


def _first(entries: Sequence[Entry]) -> int:
    """Returns the number of the entry that puts the first roles in force."""
    return next(one.number for one in entries if one.action == "roles")


def _check(entry: Entry, roles: Roles, right: str, where: str) -> None:
    which = f"{where}/{AUDIT}: entry {entry.number} ({entry.action})"
    way_out = "Restore the folder from a copy that verifies"
    if entry.signature is None or entry.key is None:
        raise RegistryError(
            f"{which} must be signed by somebody who may {right} ({roles.who_may(right)}), but is "
            f"not signed. {way_out}."
        )
    person = roles.people.get(entry.key)
    if person is None or right not in person.may:
        who = "an unknown key" if person is None else person.name
        what = "" if person is None else f", who may only {', '.join(person.may) or 'read'}"
        raise RegistryError(
            f"{which} must be signed by somebody who may {right} ({roles.who_may(right)}), but is "
            f"signed by {who}{what}. {way_out}."
        )
    if not keys.is_signed(person.public_key, entry.signature, entry.signed_bytes()):
        raise RegistryError(
            f"{which} must have a signature that {person.name}'s key made, but it does not fit "
            f"what the entry says. {way_out}."
        )
    if entry.by != person.name:
        raise RegistryError(
            f"{which} must be by the owner of its key, {person.name}, but says {entry.by!r}. "
            f"{way_out}."
        )


def refuse_other_roles(in_force: Roles | None, present: Roles | None, log: Log, where: str) -> None:
    """Refuses a log whose roles are not the present ones.

    Raises:
        RegistryError: ``roles.json`` was removed or changed, or nothing was signed since there are
            roles.
    """
    if in_force is None and present is None:
        return
    if present is None:
        raise RegistryError(
            f"{where}: {ROLES} must be there since entry {_first(log.entries)} of {AUDIT} put "
            "roles in force, but was removed. Restore it."
        )
    if in_force is None:
        raise RegistryError(
            f"{where}: the log must be signed since there is a {ROLES}, but no entry is. Put the "
            f"roles in force with `jamba-ray registry roles name={log.name} key=<key.pem>`, by "
            f"somebody who may ({present.who_may('roles')})."
        )
    if in_force.digest != present.digest:
        raise RegistryError(
            f"{where}: {ROLES} must be what the log put in force, but was changed since. Restore "
            f"it, or sign it with `jamba-ray registry roles name={log.name} key=<key.pem>`, by "
            f"somebody who may ({in_force.who_may('roles')})."
        )
