"""Stores the checkpoints of a run in an object store, where the manifest commits them.

    trial-0007/step-000012/model.safetensors.4f0c2d1e8a91b3c7   named by content
    trial-0007/step-000012/manifest.json                        written last

An object appears whole or not at all, so a checkpoint exists as soon as its manifest does. Data
objects have the beginning of their SHA-256 in their names: writing a checkpoint again never touches
what the old manifest lists. What a killed writer left has no manifest and is deleted.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import cast

from jamba_ray.checkpoints.encoding import decode
from jamba_ray.checkpoints.manifest import (
    MANIFEST,
    MAX_MANIFEST_BYTES,
    FileRecord,
    Kind,
    Manifest,
    parse,
    verify,
)
from jamba_ray.checkpoints.remote_folder import RemoteFolder
from jamba_ray.checkpoints.retention import Entry
from jamba_ray.checkpoints.snapshot import Snapshot
from jamba_ray.checkpoints.store import (
    CheckpointStore,
    packed,
    trial_name,
)
from jamba_ray.errors import CheckpointError, NoRunError

_PATH = re.compile(r"trial-([0-9]{4,})/(step|best|fold)-([0-9]{6,})")


class RemoteCheckpointStore(CheckpointStore):
    """Stores checkpoints in a bucket, with the promises of ``CheckpointStore``.

    What ``save`` returned is there, whole, and every byte is verified before it is used.
    """

    def __init__(self, folder: RemoteFolder) -> None:
        self._remote = folder
        self._settled = set()
        self.root = Path("/nonexistent")

    def save(self, trial: int, step: int, snapshot: Snapshot, kind: Kind = "step") -> str:
        """Saves a checkpoint; raises ValueError, and StorageError when the patience is over."""
        path, files, manifest = packed(trial, step, snapshot, kind)
        for name, data in files.items():
            self._remote.write(f"{path}/{_object(name, manifest.files[name])}", data)
        self._remote.write(f"{path}/{MANIFEST}", manifest.to_bytes())
        return path

    def entries(self, trial: int | None = None) -> list[Entry]:
        """Returns the checkpoints that have a manifest (see ``CheckpointStore.entries``)."""
        below = "" if trial is None else trial_name(trial)
        found = []
        for name in self._remote.names(below):
            path, _, last = name.rpartition("/")
            parts = _PATH.fullmatch(path)
            if parts and last == MANIFEST:
                found.append(Entry(int(parts[1]), int(parts[3]), cast(Kind, parts[2]), path))
        return sorted(found)

    def sweep_orphans(self, older_than_s: float = 3600.0) -> list[Path]:
        """Deletes data objects that no manifest lists.

        Call it while no runner writes (at the end of a sweep): a living writer's objects have no
        manifest yet.
        """
        names = self._remote.names()
        vouched = set()
        for name in names:
            path, _, last = name.rpartition("/")
            if last != MANIFEST or not _PATH.fullmatch(path):
                continue
            raw = self._remote.read(name, MAX_MANIFEST_BYTES)
            try:
                manifest = parse(raw or b"", path)
            except CheckpointError:
                continue
            vouched |= {name, *(f"{path}/{_object(n, r)}" for n, r in manifest.files.items())}
        orphans = [n for n in names if _PATH.match(n) and n not in vouched]
        for name in orphans:
            self._remote.delete(name)
        return [Path(name) for name in orphans]

    def _entries_of(self, is_wanted: Callable[[int], bool]) -> list[Entry]:
        # One listing has them all, and finished trials have few objects.
        return [e for e in self.entries() if is_wanted(e.trial)]

    def _where(self, path: str) -> str:
        return f"{self._remote.uri}/{path}"

    def _discard(self, path: str) -> None:
        # The manifest first: without it the rest is no checkpoint.
        self._remote.delete(f"{path}/{MANIFEST}")
        for name in self._remote.names(path):
            self._remote.delete(name)

    def _read(self, path: str) -> tuple[Manifest, bytes, dict[str, bytes]]:
        where = self._where(path)
        if not _PATH.fullmatch(path):
            raise CheckpointError(
                f"A checkpoint of this store must be 'trial-<n>/<kind>-<step>', but is {path!r}. "
                "Use a path that `entries` gives."
            )
        raw = self._remote.read(f"{path}/{MANIFEST}", MAX_MANIFEST_BYTES)
        if raw is None:
            raise CheckpointError(f"{where}: there is no checkpoint. Check the path.")
        manifest = parse(raw, where)
        files = {}
        for name, expected in manifest.files.items():
            data = self._remote.read(f"{path}/{_object(name, expected)}", expected.size + 1)
            if data is None:
                raise CheckpointError(f"{where}: `{name}` is missing. Use an older checkpoint.")
            verify(name, data, expected, where)
            files[name] = data
        return manifest, raw, files


def read_published(folder: RemoteFolder) -> Snapshot:
    """Reads the checkpoint of a run's ``best/`` in a bucket; ``folder`` is either of the two.

    Raises:
        CheckpointError: There is none, or it is damaged.
        StorageError: The store refuses.
    """
    files, prefix = published_files(folder)
    del files[MANIFEST]
    return decode(files, f"{folder.uri}/{prefix}".rstrip("/"))


def published_files(folder: RemoteFolder) -> tuple[dict[str, bytes], str]:
    """Returns the verified files of a run's ``best/`` in a bucket with its manifest, and the
    prefix; raises the errors of ``read_published``."""
    for path in ("", "best/"):
        raw = folder.read(f"{path}{MANIFEST}", MAX_MANIFEST_BYTES)
        if raw is None:
            continue
        where = f"{folder.uri}/{path}".rstrip("/")
        files = {MANIFEST: raw}
        for name, expected in parse(raw, where).files.items():
            data = folder.read(f"{path}{name}", expected.size + 1)
            if data is None:
                raise CheckpointError(f"{where}: `{name}` is missing. Use another run.")
            verify(name, data, expected, where)
            files[name] = data
        return files, path
    raise NoRunError(
        f"{folder.uri} must be a run with a `best/`, or that folder, but holds no `{MANIFEST}`. "
        "Give the run of a finished sweep, such as 's3://bucket/sweeps/<run>'."
    )


def _object(name: str, content: FileRecord) -> str:
    return f"{name}.{content.sha256[:16]}"
