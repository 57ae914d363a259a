"""Changes a registry: registers, promotes, rolls back, signs, puts roles in force."""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jamba_ray.errors import ConfigError, GateError, NoRunError
from jamba_ray.inference.predictor import SavedModel
from jamba_ray.versions.content import (
    EXPORTS,
    PASSPORT,
    PROVENANCE,
    Export,
    content_of,
)
from jamba_ray.versions.gate_result import Gate
from jamba_ray.versions.keys import SigningKey
from jamba_ray.versions.log_entries import Entry, holders
from jamba_ray.versions.model_log import (
    ModelLog,
    known_log,
    number_in_use,
    version_path,
    vouched,
)
from jamba_ray.versions.opening import Found, find_version
from jamba_ray.versions.passport import passport_of
from jamba_ray.versions.place import LAST, Place
from jamba_ray.versions.provenance import provenance_of
from jamba_ray.versions.roles import ROLES, Person
from jamba_ray.versions.source import Source


def register(
    place: Place,
    name: str,
    source: Source,
    saved: SavedModel,
    exports: Sequence[Export],
    licence: str | None,
    why: str,
    key: SigningKey | None,
) -> Entry:
    """Adds a version, and the entry that makes it one.

    Raises:
        ConfigError: Two exports have one format; roles are in force and ``key`` may not.
    """
    twice = {one.format for one in exports}
    if len(twice) < len(exports):
        raise ConfigError(
            [
                "a version must have one file of each format, but two are given of one. Leave one "
                "out of `formats` or `exports`."
            ]
        )
    files = dict(source.files)
    files |= {f"{EXPORTS}/{name}.{one.format}": one.raw for one in exports}
    predictor = saved.predictor()
    parity = {one.format: one.words for one in exports}
    facts = {
        "source": source.run,
        "fingerprints": dict(predictor.fingerprints),
        "objective": predictor.config.objective,
        "parity": parity,
        "thresholds": {n: float(one["threshold"]) for n, one in predictor.thresholds.items()},
    }

    def add(log: ModelLog) -> dict[str, Any]:
        number = max([*log.numbers(), number_in_use(place, name)], default=0) + 1
        created = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        made = dict(files)
        made[PASSPORT] = passport_of(
            name, number, created, predictor, source.summary, made, parity, licence
        )
        made[PROVENANCE] = provenance_of(name, number, created, source, predictor, made)
        raw = content_of(name, number, created, made, facts).to_bytes()
        if not place.add(version_path(name, number), {**made, LAST: raw}):
            raise GateError(
                f"{place}: the folder of version {number} of {name!r} must be new, but another "
                "process has just made it. Register again."
            )
        return {"version": number, "digest": hashlib.sha256(raw).hexdigest()}

    return ModelLog(place, name).append("register", why, key, add)


@dataclass(frozen=True)
class Candidate:
    """Holds a version that may be promoted, and the one that its alias points at."""

    version: Found
    alias: str
    held: int | None
    """What the alias pointed at when it was looked at; None: at nothing."""
    champion: Found | None
    """That version, unless it is the one to promote."""


def candidate(place: Place, name: str, version: int | None, alias: str) -> Candidate:
    """Returns the version that is meant, verified, and the one that it would replace.

    Raises:
        NoRunError: There is no such model or version.
        ConfigError: The alias points at it already.
        RegistryError: A byte of either was changed.
    """
    log = known_log(place, name)
    log.refuse_unsigned()
    number = max(log.numbers(), default=0) if version is None else version
    found = find_version(log, number)
    _verify(found)
    held = log.log.aliases.get(alias)
    # Under roles an alias that was set before them may be set again, by somebody who may.
    if held == number and (not log.is_signed or log.log.setter_of(alias).roles is not None):
        raise ConfigError(
            [
                f"`version` must be one that {name}@{alias} is not, but it is version {held} "
                "already. Give another `version=`, or register one."
            ]
        )
    champion = None if held is None or held == number else find_version(log, held)
    return Candidate(found, alias, held, champion)


def _verify(found: Found) -> None:
    for name in found.content.files:
        found.read(name)


def promote(
    candidate: Candidate,
    gates: Sequence[Gate],
    force: str | None,
    why: str,
    key: SigningKey | None,
) -> Entry:
    """Makes the alias point at the version, unless a gate refuses or the alias has moved.

    Raises:
        GateError: A gate refuses and there is no ``force``, or another promotion was first.
    """
    refused = [gate for gate in gates if not gate.passes]
    found, alias = candidate.version, candidate.alias
    which = f"{found.log.name}@{found.number}"
    if refused and not force:
        told = "; ".join(gate.words for gate in refused)
        raise GateError(
            f"{which} must pass each gate to become {alias}, but does not: {told}. Mend it, change "
            'the gate, or promote it all the same with `force="<reason>"`, which is recorded.'
        )

    def point(log: ModelLog) -> dict[str, Any]:
        held, before = log.log.aliases.get(alias), candidate.held
        if held != before:
            by = log.log.setter_of(alias)
            raise GateError(
                f"{log.name}@{alias} must still be what {which} was judged against "
                f"({'nothing' if before is None else f'version {before}'}), but {by.by} made it "
                f"version {held} meanwhile (entry {by.number} of the log). Promote again if you "
                "want to replace that one."
            )
        return {
            "version": found.number,
            "digest": found.digest,
            "alias": alias,
            "gates": tuple(gate.to_json() for gate in gates),
            "force": force if refused else None,
        }

    return found.log.append("promote", why, key, point)


def rollback(
    place: Place, name: str, alias: str, version: int | None, why: str, key: SigningKey | None
) -> tuple[int, Entry]:
    """Makes an alias point at what it was before; returns (what it was till now, the entry).

    Raises:
        NoRunError: The alias has no version before, or was never the one that is given.
        RegistryError: As much as a bit of that version was changed.
    """
    log = known_log(place, name)
    log.refuse_unsigned()
    held = log.log.aliases.get(alias)

    def back(log: ModelLog) -> dict[str, Any]:
        stack = holders(log.log.entries).get(alias, [])
        if not stack or stack[-1] != held:
            raise GateError(
                f"{name}@{alias} must still be version {held}, but another process has changed it "
                "meanwhile. Look at `jamba-ray registry history`, and do it again."
            )
        number = _before(log, alias, stack, version)
        vouched(log, number)
        found = find_version(log, number)
        _verify(found)
        return {"version": number, "digest": found.digest, "alias": alias}

    if held is None:
        listed = ", ".join(sorted(log.log.aliases)) or "none"
        raise NoRunError(
            f"{log.where} must have the alias {alias!r} to roll it back, but has {listed}. Give "
            "another `alias=`."
        )
    return held, log.append("rollback", why, key, back)


def _before(log: ModelLog, alias: str, stack: Sequence[int], version: int | None) -> int:
    earlier = [number for number in stack[:-1] if number != stack[-1]]
    if version is not None and version in earlier:
        return version
    if version is None and earlier:
        return earlier[-1]
    listed = ", ".join(map(str, dict.fromkeys(earlier))) or "none"
    raise NoRunError(
        f"{log.name}@{alias} must have been {f'version {version}' if version else 'another one'} "
        f"before to be rolled back, but was {listed} before version {stack[-1]}. Promote the "
        "version that you want."
    )


def sign(
    place: Place, name: str, version: int | None, why: str, key: SigningKey
) -> tuple[Entry, str]:
    """Signs a version as OpenSSF's model signing does; returns (the entry, the signature's
    name)."""
    from jamba_ray.versions.signing import sign_model

    log = known_log(place, name)
    if log.log.entries and log.in_force is not None:
        log.refuse_unsigned()
    found = find_version(log, max(log.numbers(), default=0) if version is None else version)
    _verify(found)
    written = sign_model(found, key)

    def signed(log: ModelLog) -> dict[str, Any]:
        return {"version": found.number, "digest": found.digest}

    entry = log.append("sign", why, key, signed)
    place.write(*written)
    return entry, f"{place}/{written[0]}"


def put_roles_in_force(
    place: Place, name: str, why: str, key: SigningKey
) -> tuple[Entry, list[Person]]:
    """Writes the present ``roles.json`` to the log, from where it counts.

    Raises:
        ConfigError: There is none, or ``key`` may not.
    """
    log = ModelLog(place, name)  # perhaps of a model that is to come
    if log.present is None:
        raise ConfigError(
            [
                f"{place} must hold a {ROLES} to put in force, but has none. Write it as "
                "docs/how-to/registry.md shows."
            ]
        )
    if log.in_force is not None and log.in_force.digest == log.present.digest:
        raise ConfigError([f"The roles of {name} are in force already. Nothing is to be done."])
    entry = log.append("roles", why, key, lambda log: {})
    return entry, list(log.present.people.values())
