"""Defines the manifest, which lists a checkpoint's files with checksums and is written last.

A folder without a valid manifest is no checkpoint. The manifest has the checksum of every other
file, and one of its own content.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from jamba_ray.errors import CheckpointError

Kind = Literal["step", "best", "fold"]
"""``step``: all that training needs to continue. ``best``: the result of a finished trial.
``fold``: the result of one of its folds; the step is the fold's number."""

FORMAT = 1
MANIFEST = "manifest.json"
MAX_MANIFEST_BYTES = 1_000_000
"""Most bytes to read; a manifest has some hundred bytes per file."""

_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class FileRecord:
    """Holds the size and checksum that one file must have."""

    size: int
    """Bytes."""
    sha256: str
    """64 lower-case hex digits."""


@dataclass(frozen=True)
class Manifest:
    """Holds what a checkpoint is and which files it has."""

    trial: int
    step: int
    """Reports made so far."""
    kind: Kind
    created: str
    """UTC, ISO 8601."""
    files: Mapping[str, FileRecord]

    def to_bytes(self) -> bytes:
        """Returns the only valid text of the manifest, which ``parse`` requires."""
        body = {
            "format": FORMAT,
            "trial": self.trial,
            "step": self.step,
            "kind": self.kind,
            "created": self.created,
            "files": {n: {"size": r.size, "sha256": r.sha256} for n, r in self.files.items()},
        }
        return _spell({**body, "sha256": _digest(_spell(body))})


def is_file_name(name: str) -> bool:
    """Says whether ``name`` is one plain path component that may be a file of a checkpoint."""
    return _FILE_NAME.fullmatch(name) is not None and name != MANIFEST


def record(data: bytes) -> FileRecord:
    """Returns the manifest's record of a file with this content."""
    return FileRecord(size=len(data), sha256=_digest(data))


def parse(raw: bytes, where: str) -> Manifest:
    """Parses a manifest; ``where`` names the checkpoint in errors.

    Raises:
        CheckpointError: If it is damaged, of an unknown format, or names files outside its folder.
    """
    damaged = f"{where}: `{MANIFEST}` is damaged ({{}}). Use an older checkpoint."
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(damaged.format("it is no JSON")) from error
    if not isinstance(value, dict):
        raise CheckpointError(damaged.format("it is no JSON object"))
    if value.get("format", FORMAT) != FORMAT:
        raise CheckpointError(
            f"{where}: the checkpoint's format must be {FORMAT}, but is {value['format']!r}. "
            "Read it with the version of jamba_ray that wrote it."
        )
    body = {name: field for name, field in value.items() if name != "sha256"}
    # Comparing the text too leaves no byte of the file unchecked.
    if value.get("sha256") != _digest(_spell(body)) or _spell(value) != raw:
        raise CheckpointError(damaged.format("its checksum does not match"))
    try:
        return _manifest(body)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(damaged.format(f"it was not written by jamba_ray: {error}")) from None


def _manifest(body: Mapping[str, Any]) -> Manifest:
    files = {}
    for name, entry in body["files"].items():
        if not is_file_name(name):
            raise ValueError(f"{name!r} is not the name of a file in a checkpoint")
        size, sha256 = entry["size"], entry["sha256"]
        if not _natural(size) or not _SHA256.fullmatch(sha256):
            raise ValueError(f"the entry of {name!r} is not a size and a SHA-256")
        files[name] = FileRecord(size=size, sha256=sha256)
    if not _natural(body["trial"]) or not _natural(body["step"]):
        raise ValueError("trial and step are not whole numbers")
    if body["kind"] not in get_args(Kind):
        raise ValueError(f"the kind {body['kind']!r} is unknown")
    return Manifest(
        trial=body["trial"],
        step=body["step"],
        kind=body["kind"],
        created=str(body["created"]),
        files=files,
    )


def verify(name: str, data: bytes, expected: FileRecord, where: str) -> None:
    """Compares one file's content with its record in the manifest.

    Raises:
        CheckpointError: If as much as one bit differs.
    """
    if len(data) != expected.size:
        how = "truncated" if len(data) < expected.size else "longer than written"
        raise CheckpointError(
            f"{where}: `{name}` must have {expected.size} bytes, but has {len(data)}: it is {how}. "
            "Use an older checkpoint."
        )
    if _digest(data) != expected.sha256:
        raise CheckpointError(
            f"{where}: `{name}` does not match its SHA-256: its content has changed since it was "
            "written. Use an older checkpoint and check the disk."
        )


def _natural(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _spell(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()
