"""Reads what was done to a model, and adds to it: the only writer of its two files."""

from __future__ import annotations

import dataclasses
import datetime
import getpass
from collections.abc import Callable
from typing import Any

from jamba_ray.config.names import nearest
from jamba_ray.errors import ConfigError, NoRunError, RegistryError
from jamba_ray.versions.keys import SigningKey
from jamba_ray.versions.log_entries import ALIASES, AUDIT, Action, Entry, Log, read_log
from jamba_ray.versions.place import LAST, Place
from jamba_ray.versions.roles import (
    Roles,
    check_signatures,
    present_roles,
    refuse_other_roles,
)

_MAX_BYTES = 1 << 30


class ModelLog:
    """Holds the verified log of one model, and the roles that it is under."""

    def __init__(self, place: Place, name: str) -> None:
        """Reads and verifies; raises RegistryError and StorageError."""
        self.place = place
        self.name = name
        self.where = f"{place}/{name}"
        self.log = self._read()
        self.in_force = check_signatures(self.log, self.where)
        self.present = present_roles(place)

    @property
    def is_signed(self) -> bool:
        """Says whether roles are in force."""
        return self.in_force is not None

    def refuse_unsigned(self) -> None:
        """Refuses a log whose roles are not those of ``roles.json``; raises RegistryError."""
        refuse_other_roles(self.in_force, self.present, self.log, self.where)

    def refuse_stranger(self, action: Action, key: SigningKey | None) -> None:
        """Refuses somebody who may not do something, before it is prepared; raises ConfigError."""
        _person(self.in_force, action, key)

    def numbers(self) -> list[int]:
        """Returns the versions that were registered."""
        return sorted(self.log.digests)

    def _read(self) -> Log:
        """Reads the names first: entries that are added meanwhile come after those they count."""
        pointer = self.place.read(f"{self.name}/{ALIASES}", _MAX_BYTES)
        audit = self.place.read(f"{self.name}/{AUDIT}", _MAX_BYTES)
        return read_log(self.name, audit, pointer, self.where)

    def append(
        self,
        action: Action,
        why: str,
        key: SigningKey | None,
        make: Callable[[ModelLog], dict[str, Any]],
    ) -> Entry:
        """Adds an entry, as the only process that does so at the time.

        ``make`` is given the log as it is then, and returns what the entry says (``version``,
        ``digest``, ``alias`` ...); it raises where the entry is no longer right.

        Raises:
            ConfigError: Roles are in force, and ``key`` is missing or may not do this.
        """
        with self.place.locked(self.name):
            self.log = self._read()
            self.in_force = check_signatures(self.log, self.where)
            self.present = present_roles(self.place)
            if action != "roles":
                self.refuse_unsigned()
            entry = self._entry(action, why, key, make)
            log = self.log.with_entry(entry)
            check_signatures(log, self.where)  # nothing is written that a reader would refuse
            # A process that is killed between the two has changed nothing: see `log_entries`.
            self.place.write(f"{self.name}/{AUDIT}", self.log.audit(entry.line()))
            self.place.write(f"{self.name}/{ALIASES}", log.pointer())
            self.log = log
        return entry

    def _entry(
        self,
        action: Action,
        why: str,
        key: SigningKey | None,
        make: Callable[[ModelLog], dict[str, Any]],
    ) -> Entry:
        roles, judges = self.in_force, self.in_force
        text = None
        if action == "roles":
            roles = self.present
            judges = self.in_force or roles
            text = None if roles is None else roles.text
        by = _person(judges, action, key)  # before anything is made
        says = make(self)
        at = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
        if self.log.entries:  # a clock that was put back must not turn the order round
            at = max(at, self.log.entries[-1].at)
        entry = Entry(
            number=len(self.log.entries) + 1,
            name=self.name,
            action=action,
            by=by,
            at=at,
            why=why,
            roles=None if roles is None else roles.digest,
            roles_text=text,
            previous=self.log.head,
            key=None if judges is None or key is None else key.fingerprint,
            **{"version": None, "digest": None, "alias": None, **says},
        )
        if judges is None or key is None:
            return entry
        return dataclasses.replace(entry, signature=key.sign(entry.signed_bytes()))


def _person(roles: Roles | None, action: str, key: SigningKey | None) -> str:
    """Returns who does something; raises ConfigError where that person may not."""
    if roles is None:
        try:
            return getpass.getuser()
        except (OSError, KeyError):
            return "unknown"
    if key is None:
        raise ConfigError(
            [
                f"`{action}` must be signed, since there is a `roles.json`. Give `key=<key.pem>`, "
                f"the private key of somebody who may ({roles.who_may(action)})."
            ]
        )
    person = roles.people.get(key.fingerprint)
    if person is None or action not in person.may:
        who = "a key that `roles.json` does not name" if person is None else person.name
        raise ConfigError(
            [
                f"`{action}` must be signed by somebody who may ({roles.who_may(action)}), but "
                f"{key.path!r} is of {who}. Ask one of them, or have `roles.json` changed."
            ]
        )
    return person.name


def model_names(place: Place) -> list[str]:
    """Returns the names of the models in a registry."""
    names = {name.partition("/")[0] for name in place.names() if name.count("/") == 1}
    return sorted(name for name in names if place.read(f"{name}/{ALIASES}", 1) is not None)


def known_log(place: Place, name: str) -> ModelLog:
    """Returns the log of a model that must exist.

    Raises:
        NoRunError: It does not.
        RegistryError: See ``ModelLog``.
    """
    log = ModelLog(place, name)
    if not log.log.entries:
        close = nearest(name, model_names(place))
        way_out = close or f". Register one: `jamba-ray registry register run=<run> name={name}`."
        raise NoRunError(f"{place} must hold the model {name!r}, but does not{way_out}")
    return log


def number_in_use(place: Place, name: str) -> int:
    """Returns the largest number of a version's folder, also of one that was never registered."""
    found = {one.split("/")[1] for one in place.names(name) if one.count("/") >= 2}
    return max((int(one) for one in found if one.isdigit()), default=0)


def version_path(name: str, number: int) -> str:
    """Returns the folder of a version in its registry."""
    return f"{name}/{number}"


def last_of(name: str, number: int) -> str:
    """Returns the name of the file that describes a version."""
    return f"{version_path(name, number)}/{LAST}"


def refuse_unknown(log: ModelLog, number: int) -> str:
    """Returns the digest of a version that must have been registered.

    Raises:
        NoRunError: It was not.
    """
    digest = log.log.digests.get(number)
    if digest is None:
        listed = ", ".join(map(str, log.numbers())) or "none"
        raise NoRunError(
            f"{log.where} must have a version {number}, but has {listed}. Choose one of them."
        )
    return digest


def vouched(log: ModelLog, number: int) -> None:
    """Refuses a version that nobody signed since roles are in force; raises RegistryError."""
    if log.in_force is None:
        return
    digest = refuse_unknown(log, number)
    signed = [e for e in log.log.entries if e.version == number and e.roles is not None]
    if not any(entry.digest == digest for entry in signed):
        raise RegistryError(
            f"{log.where}: version {number} must be in a signed entry of the log, but was "
            "registered before there were roles. Register it again, or promote it with `key=`."
        )
