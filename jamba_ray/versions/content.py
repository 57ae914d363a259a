"""Describes what a version holds: its files, with the size and SHA-256 of each."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jamba_ray.checkpoints.manifest import FileRecord, record, verify
from jamba_ray.errors import CheckpointError, RegistryError
from jamba_ray.versions.place import LAST, checked_name

FORMAT = 1
MODEL = "model"
"""The folder of the checkpoint in a version."""
EXPORTS = "exports"
EVIDENCE = "evidence"
"""What the run says of the model: its summary, and the scores of the rows that judged it."""
PASSPORT = "passport.json"
SUMMARY = "summary.json"
SCORES = "scores.parquet"
PROVENANCE = "provenance.json"
MAX_BYTES = 10_000_000
"""Most bytes of ``version.json``."""


@dataclass(frozen=True)
class Export:
    """Holds a file for other runtimes, and what its comparison with the model found."""

    format: str
    raw: bytes
    words: str


@dataclass(frozen=True)
class Content:
    """Holds what ``version.json`` says."""

    name: str
    number: int
    created: str
    files: Mapping[str, FileRecord]
    facts: Mapping[str, Any]
    """What gates need: source, fingerprints, exports with their parity."""

    def to_bytes(self) -> bytes:
        """Returns the text of ``version.json``."""
        files = {n: {"size": r.size, "sha256": r.sha256} for n, r in self.files.items()}
        tree = {
            "format": FORMAT,
            "name": self.name,
            "number": self.number,
            "created": self.created,
            "files": files,
            "facts": dict(self.facts),
        }
        return (json.dumps(tree, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()

    @property
    def exports(self) -> dict[str, str]:
        """Returns format -> name of the exported file."""
        return {
            name.rpartition(".")[2]: name for name in self.files if name.startswith(f"{EXPORTS}/")
        }


def content_of(
    name: str, number: int, created: str, files: Mapping[str, bytes], facts: Mapping[str, Any]
) -> Content:
    """Describes the files of a new version."""
    records = {one: record(data) for one, data in files.items()}
    return Content(name, number, created, records, facts)


def parse_content(raw: bytes, digest: str, name: str, number: int, where: str) -> Content:
    """Parses ``version.json``, which must have the digest that the log gives.

    Raises:
        RegistryError: It was changed, or is of another version.
    """
    if hashlib.sha256(raw).hexdigest() != digest:
        raise RegistryError(
            f"{where}/{LAST} must have the SHA-256 that the log gives, but was changed. "
            "Restore the version from a copy, or use another version."
        )
    try:
        tree = json.loads(raw)
        if (tree["format"], tree["name"], tree["number"]) != (FORMAT, name, number):
            raise ValueError("it is of another version")
        files = {
            checked_name(one): FileRecord(int(held["size"]), str(held["sha256"]))
            for one, held in tree["files"].items()
        }
        return Content(name, number, str(tree["created"]), files, dict(tree["facts"]))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise RegistryError(
            f"{where}/{LAST} must describe version {number} of {name!r}, but does not ({error}). "
            "Use another version."
        ) from None


def check_file(name: str, data: bytes | None, expected: FileRecord, where: str) -> bytes:
    """Compares one file with what the version says of it, and returns it.

    Raises:
        RegistryError: It is missing, or as much as one bit differs.
    """
    if data is None:
        raise RegistryError(
            f"{where}: {name!r} must be there, but is missing. Restore the version from a copy, or "
            "use another version."
        )
    try:
        verify(name, data, expected, where)
    except CheckpointError as error:
        told = error.message.replace("Use an older checkpoint", "Use another version")
        raise RegistryError(told) from None
    return data


def refuse_extra(found: list[str], content: Content, where: str) -> None:
    """Refuses a version with files that are not its own: a checkpoint's folder may hold more than
    its manifest lists.

    Raises:
        RegistryError: Naming the first one.
    """
    extra = sorted(set(found) - set(content.files) - {LAST})
    if extra:
        raise RegistryError(
            f"{where}: a version must hold the files that it was registered with, but holds "
            f"{extra[0]!r} too. Delete that file."
        )
