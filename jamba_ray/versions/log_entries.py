"""Writes and checks a model's log: what was done, by whom, in a chain that shows every change.

``audit.jsonl`` has an entry a line; each holds the SHA-256 of the line before it. ``aliases.json``
holds which version each name points at, the number of entries and the SHA-256 of the last one: it
is written after the entry and in one step, so that it alone says what holds. A line after those
that it counts is of a process that was killed, and means nothing.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, get_args

from jamba_ray.errors import RegistryError

AUDIT = "audit.jsonl"
ALIASES = "aliases.json"
FORMAT = 1
Action: TypeAlias = Literal["register", "promote", "rollback", "sign", "roles"]
ACTIONS: tuple[str, ...] = get_args(Action)
_UNSIGNED = ("signature",)
_RESTORE = "Restore the folder from a copy that verifies"


@dataclass(frozen=True)
class Entry:
    """Holds one thing that was done to a model."""

    number: int
    """From 1."""
    name: str
    action: Action
    version: int | None
    digest: str | None
    """SHA-256 of the version's ``version.json``; None: the entry is of no version."""
    alias: str | None
    by: str
    at: str
    """UTC, ISO 8601."""
    why: str = ""
    gates: tuple[Mapping[str, Any], ...] = ()
    """What each gate found."""
    force: str | None = None
    """Why a version was promoted that a gate refused."""
    roles: str | None = None
    """SHA-256 of the roles in force; None: there are none."""
    roles_text: str | None = None
    """The roles themselves, in the entry that puts them in force."""
    previous: str = ""
    """SHA-256 of the line before; of the first one that of the model's name."""
    key: str | None = None
    """Fingerprint of the key that signed; None: nobody did."""
    signature: str | None = field(default=None)
    """In base64."""

    def signed_bytes(self) -> bytes:
        """Returns what a signature is of."""
        tree = dataclasses.asdict(self)
        return _canonical({key: value for key, value in tree.items() if key not in _UNSIGNED})

    def line(self) -> bytes:
        """Returns the entry as its line, without the end of the line."""
        return _canonical(dataclasses.asdict(self))


@dataclass(frozen=True)
class Log:
    """Holds the entries of a model that count, and what follows from them."""

    name: str
    entries: tuple[Entry, ...] = ()
    lines: tuple[bytes, ...] = ()
    pending: int = 0
    """Lines after those that count: of a process that was killed, or is at work."""

    @property
    def head(self) -> str:
        """Returns the SHA-256 of the last line."""
        return line_digest(self.lines[-1]) if self.lines else genesis(self.name)

    @property
    def aliases(self) -> dict[str, int]:
        """Returns alias -> version."""
        return {alias: held[-1] for alias, held in holders(self.entries).items() if held}

    @property
    def digests(self) -> dict[int, str]:
        """Returns version -> the digest that it was registered with."""
        return {
            one.version: one.digest
            for one in self.entries
            if one.action == "register" and one.version is not None and one.digest is not None
        }

    def setter_of(self, alias: str) -> Entry:
        """Returns the entry that made an alias point where it does."""
        changes = ("promote", "rollback")
        return next(
            one for one in reversed(self.entries) if one.alias == alias and one.action in changes
        )

    def audit(self, *more: bytes) -> bytes:
        """Returns the content of the log with further lines."""
        return b"".join(line + b"\n" for line in (*self.lines, *more))

    def pointer(self) -> bytes:
        """Returns the content of ``aliases.json``."""
        tree = {
            "format": FORMAT,
            "name": self.name,
            "entries": len(self.entries),
            "head": self.head,
            "aliases": self.aliases,
        }
        return (json.dumps(tree, indent=1, sort_keys=True) + "\n").encode()

    def with_entry(self, entry: Entry) -> Log:
        """Returns the log with one entry more."""
        return Log(self.name, (*self.entries, entry), (*self.lines, entry.line()))


def holders(entries: Sequence[Entry]) -> dict[str, list[int]]:
    """Returns alias -> the versions that it pointed at, without those that were rolled back."""
    held: dict[str, list[int]] = {}
    for one in entries:
        if one.alias is None or one.version is None:
            continue
        stack = held.setdefault(one.alias, [])
        if one.action == "promote":
            stack.append(one.version)
        elif one.action == "rollback":
            while stack and stack[-1] != one.version:
                stack.pop()
            if not stack:
                stack.append(one.version)
    return held


def aliases_at(entries: Sequence[Entry], at: str) -> dict[str, int]:
    """Returns which version each alias pointed at, at a time (UTC, ISO 8601)."""
    held = holders([one for one in entries if one.at <= at])
    return {alias: stack[-1] for alias, stack in held.items() if stack}


def read_log(name: str, audit: bytes | None, pointer: bytes | None, where: str) -> Log:
    """Returns the log in the bytes of its two files.

    Raises:
        RegistryError: An entry was changed, removed or moved, or the names are not those that the
            entries make.
    """
    raw = [] if audit is None else audit.split(b"\n")
    whole, torn = raw[:-1], bool(raw and raw[-1])
    if pointer is None:
        if len(whole) > 1:
            raise RegistryError(
                f"{where}/{ALIASES} must count the {len(whole)} entries of the log, but is "
                f"missing. {_RESTORE}."
            )
        return Log(name, pending=len(whole) + torn)
    counted, head, aliases = _pointer_of(name, pointer, where)
    if len(whole) < counted:
        raise RegistryError(
            f"{where}/{AUDIT} must have the {counted} entries that {ALIASES} counts, but has "
            f"{len(whole)}: {_times(counted - len(whole))} removed. "
            f"{_RESTORE}."
        )
    lines = tuple(whole[:counted])
    entries = tuple(_chained(name, lines, where))
    log = Log(name, entries, lines, pending=len(whole) - counted + torn)
    if log.head != head:
        raise RegistryError(
            f"{where}/{AUDIT}: entry {counted} must be the one that {ALIASES} points at, but was "
            f"changed or replaced. {_RESTORE}."
        )
    if log.aliases != aliases:
        raise RegistryError(
            f"{where}/{ALIASES} must say what the log's entries make ({_listed(log.aliases)}), "
            f"but says {_listed(aliases)}. {_RESTORE}."
        )
    return log


def _chained(name: str, lines: Sequence[bytes], where: str) -> list[Entry]:
    previous, entries = genesis(name), list[Entry]()
    digests: dict[int, str | None] = {}
    for number, line in enumerate(lines, 1):
        try:
            tree = json.loads(line)
            entry = Entry(**{**tree, "gates": tuple(tree["gates"])})
            is_sound = entry.line() == line and entry.action in ACTIONS
        except (ValueError, TypeError, KeyError, RecursionError):
            is_sound = False
        if not is_sound:
            raise RegistryError(
                f"{where}/{AUDIT}: entry {number} must be as it was written, but is no entry any "
                f"more. {_RESTORE}."
            )
        if (entry.name, entry.number, entry.previous) != (name, number, previous):
            raise RegistryError(
                f"{where}/{AUDIT}: entry {number} must follow the one before it, but does not: an "
                f"entry was changed, removed or moved. {_RESTORE}."
            )
        _refuse_other_version(entry, digests, where)
        previous = line_digest(line)
        entries.append(entry)
    return entries


def _refuse_other_version(entry: Entry, digests: dict[int, str | None], where: str) -> None:
    """Refuses an entry that would put another content behind a number: who may register must not
    change what somebody else promoted."""
    if entry.version is None:
        return
    is_new = entry.action == "register"
    if is_new == (entry.version in digests):
        raise RegistryError(
            f"{where}/{AUDIT}: a version must be registered once and before all else, but entry "
            f"{entry.number} ({entry.action}) finds version {entry.version} "
            f"{'registered' if is_new else 'unknown'}. {_RESTORE}."
        )
    if digests.setdefault(entry.version, entry.digest) != entry.digest:
        raise RegistryError(
            f"{where}/{AUDIT}: entry {entry.number} ({entry.action}) must be of version "
            f"{entry.version} as it was registered, but is of another content. {_RESTORE}."
        )


def _pointer_of(name: str, raw: bytes, where: str) -> tuple[int, str, dict[str, int]]:
    try:
        tree = json.loads(raw)
        counted, head, aliases = tree["entries"], tree["head"], dict(tree["aliases"])
        is_sound = tree["format"] == FORMAT and tree["name"] == name and counted >= 0
    except (ValueError, KeyError, TypeError, RecursionError):
        is_sound = False
    if not is_sound:
        raise RegistryError(
            f"{where}/{ALIASES} must be as it was written for {name!r}, but is damaged or of "
            f"another version of jamba_ray. {_RESTORE}."
        )
    return counted, head, aliases


def genesis(name: str) -> str:
    """Returns what the first entry of a model follows, so that no log may become another's."""
    return hashlib.sha256(f"jamba_ray registry {name}".encode()).hexdigest()


def line_digest(line: bytes) -> str:
    """Returns the SHA-256 of a line."""
    return hashlib.sha256(line).hexdigest()


def _canonical(tree: Mapping[str, Any]) -> bytes:
    return json.dumps(
        tree, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True
    ).encode()


def _listed(aliases: Mapping[str, int]) -> str:
    return ", ".join(f"{alias} {number}" for alias, number in sorted(aliases.items())) or "none"


def _times(n: int) -> str:
    return "one was" if n == 1 else f"{n} were"
