"""The checkpoints of a run in an object store: committed by their manifest.

    trial-0007/step-000012/model.safetensors.4f0c2d1e8a91b3c7   named by content
    trial-0007/step-000012/manifest.json                        written last

An object appears whole or not at all, so a checkpoint is there from the moment its manifest is.
Data objects carry the beginning of their SHA-256 in their names: writing a checkpoint anew never
touches what the old manifest vouches for. What a killed writer left has no manifest and is swept.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Collection
from pathlib import Path
from typing import cast

from jamba_ray.checkpoints.encoding import decode, encode
from jamba_ray.checkpoints.folder import commit_folder, sweep_scratch
from jamba_ray.checkpoints.manifest import (
    MANIFEST,
    MAX_MANIFEST_BYTES,
    FileRecord,
    Kind,
    Manifest,
    parse,
    record,
    verify,
)
from jamba_ray.checkpoints.remote_folder import RemoteFolder
from jamba_ray.checkpoints.retention import Entry, deletable
from jamba_ray.checkpoints.snapshot import Snapshot
from jamba_ray.checkpoints.store import (
    CheckpointStore,
    Loaded,
    check_place,
    refuse_other_content,
    trial_name,
)
from jamba_ray.errors import CheckpointError

_PATH = re.compile(r"trial-([0-9]{4,})/(step|best)-([0-9]{6,})")


class RemoteCheckpointStore(CheckpointStore):
    """``CheckpointStore`` over a bucket, with the same promises: what ``save`` returned is there,
    whole, and every byte is verified before it is used."""

    def __init__(self, folder: RemoteFolder) -> None:
        self._remote = folder
        self.root = Path("/nonexistent")

    def save(self, trial: int, step: int, snapshot: Snapshot, kind: Kind = "step") -> str:
        """See ``CheckpointStore.save``; raises ValueError, and StorageError when patience ends."""
        if trial < 0 or step < 0:
            raise ValueError(f"trial and step must not be negative, but are {trial} and {step}")
        files = encode(snapshot)
        manifest = Manifest(
            trial=trial,
            step=step,
            kind=kind,
            created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            files={name: record(data) for name, data in files.items()},
        )
        path = f"{trial_name(trial)}/{kind}-{step:06d}"
        for name, data in files.items():
            self._remote.write(f"{path}/{_object(name, manifest.files[name])}", data)
        self._remote.write(f"{path}/{MANIFEST}", manifest.to_bytes())
        return path

    def load(self, path: str) -> Snapshot:
        """See ``CheckpointStore.load``."""
        _, _, files = self._read(path)
        return decode(files, f"{self._remote.uri}/{path}")

    def entries(self, trial: int | None = None) -> list[Entry]:
        """See ``CheckpointStore.entries``: what has a manifest."""
        below = "" if trial is None else trial_name(trial)
        found = []
        for name in self._remote.names(below):
            path, _, last = name.rpartition("/")
            parts = _PATH.fullmatch(path)
            if parts and last == MANIFEST:
                found.append(Entry(int(parts[1]), int(parts[3]), cast(Kind, parts[2]), path))
        return sorted(found)

    def latest(self, trial: int, kind: Kind = "step") -> tuple[Loaded | None, list[str]]:
        """See ``CheckpointStore.latest``."""
        warnings = []
        for entry in reversed([e for e in self.entries(trial) if e.kind == kind]):
            try:
                manifest, _, files = self._read(entry.path)
                check_place(manifest, entry)
                snapshot = decode(files, f"{self._remote.uri}/{entry.path}")
            except CheckpointError as error:
                warnings.append(f"Passed over a damaged checkpoint: {error}")
                continue
            return Loaded(entry, snapshot), warnings
        return None, warnings

    def retain(
        self, best: Collection[int], finished: Collection[int], newest: int = 2
    ) -> list[Entry]:
        """See ``CheckpointStore.retain``."""
        doomed = deletable(self.entries(), best, finished, newest)
        for entry in doomed:
            self._discard(entry.path)
        return doomed

    def publish(self, path: str, destination: Path) -> None:
        """See ``CheckpointStore.publish``: ``destination`` is a local folder."""
        _, raw, files = self._read(path)
        destination = Path(destination)
        refuse_other_content(destination)
        sweep_scratch(destination.parent, older_than_s=3600.0)
        commit_folder(destination, {**files, MANIFEST: raw})

    def sweep_orphans(self, older_than_s: float = 3600.0) -> list[Path]:
        """Remove data objects that no manifest vouches for. Call it while no lane writes (at the
        end of a sweep): a living writer's objects have no manifest yet."""
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

    def _discard(self, path: str) -> None:
        # The manifest first: without it the rest is no checkpoint any more.
        self._remote.delete(f"{path}/{MANIFEST}")
        for name in self._remote.names(path):
            self._remote.delete(name)

    def _read(self, path: str) -> tuple[Manifest, bytes, dict[str, bytes]]:
        where = f"{self._remote.uri}/{path}"
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
    """The checkpoint of a run's ``best/`` in a bucket, ``folder`` being either of the two.

    Raises:
        CheckpointError: There is none, or it is damaged.
        StorageError: The store refuses.
    """
    for path in ("", "best/"):
        raw = folder.read(f"{path}{MANIFEST}", MAX_MANIFEST_BYTES)
        if raw is None:
            continue
        where = f"{folder.uri}/{path}".rstrip("/")
        files = {}
        for name, expected in parse(raw, where).files.items():
            data = folder.read(f"{path}{name}", expected.size + 1)
            if data is None:
                raise CheckpointError(f"{where}: `{name}` is missing. Use another run.")
            verify(name, data, expected, where)
            files[name] = data
        return decode(files, where)
    raise CheckpointError(
        f"{folder.uri} must be a run with a `best/`, or that folder, but holds no `{MANIFEST}`. "
        "Give the run of a finished sweep, such as 's3://bucket/sweeps/<run>'."
    )


def _object(name: str, content: FileRecord) -> str:
    return f"{name}.{content.sha256[:16]}"
