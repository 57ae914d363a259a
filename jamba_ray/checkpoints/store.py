"""Stores the checkpoints of a run in one local folder that every runner can write.

    trial-0007/step-000012/   model.safetensors, state.json, config.json ..., manifest.json
    trial-0007/best-000009/   the result of the finished trial

Writers of different trials never meet; one trial has one writer at a time.
"""

from __future__ import annotations

import datetime
import os
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import cast

from jamba_ray.checkpoints.encoding import decode, encode
from jamba_ray.checkpoints.folder import (
    OpenFolder,
    cannot_write,
    commit_folder,
    discard_folder,
    sweep_scratch,
    sync_folder,
)
from jamba_ray.checkpoints.manifest import (
    MANIFEST,
    MAX_MANIFEST_BYTES,
    Kind,
    Manifest,
    parse,
    record,
    verify,
)
from jamba_ray.checkpoints.retention import Entry, deletable
from jamba_ray.checkpoints.snapshot import Snapshot, step_of
from jamba_ray.errors import CheckpointError, StorageError

_TRIAL = re.compile(r"trial-([0-9]{4,})")
_CHECKPOINT = re.compile(r"(step|best|fold)-([0-9]{6,})")
_MAX_READS = 5
"""Most times that a checkpoint replaced while it is read (``best/``) is read again."""


Differs = Callable[[Snapshot], Sequence[str]]
"""Returns what makes a checkpoint another experiment's; empty: nothing."""


def is_anyones(snapshot: Snapshot) -> Sequence[str]:
    """Accepts every checkpoint: a ``Differs`` that finds nothing."""
    return ()


@dataclass(frozen=True)
class Loaded:
    """Holds a checkpoint that was read and verified."""

    entry: Entry
    snapshot: Snapshot


class CheckpointStore:
    """Saves, finds and deletes checkpoints below ``root``.

    ``root`` is made if it is missing, but never its parent (the run folder), and never again later:
    a disk that was unmounted must not be written to as an empty folder of the same name.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(root)
        self._settled: set[int] = set()
        try:
            self.root.mkdir(exist_ok=True)
        except OSError as error:
            raise cannot_write(self.root, error, 0) from error
        self._known_trials: set[int] = set()

    def save(self, trial: int, step: int, snapshot: Snapshot, kind: Kind = "step") -> str:
        """Writes a checkpoint and returns its path relative to ``root``.

        Once this returns, the checkpoint survives ``kill -9`` and power loss; before, it is not
        there at all. One of the same trial, step and kind is replaced in one step.

        Raises:
            ValueError: If the snapshot holds what no checkpoint may (see ``encode``).
            StorageError: If the disk is full, read-only or gone; nothing is left behind.
        """
        path, files, manifest = packed(trial, step, snapshot, kind)
        target = self.root / path
        if trial not in self._known_trials:
            try:
                target.parent.mkdir(exist_ok=True)  # no parents: see the class
                sync_folder(self.root)
            except OSError as error:
                raise cannot_write(target, error, snapshot.nbytes) from error
            self._known_trials.add(trial)
        commit_folder(target, {**files, MANIFEST: manifest.to_bytes()})
        return path

    def load(self, path: str) -> Snapshot:
        """Reads and verifies the checkpoint at ``path``, the path that ``save`` returned.

        Raises:
            CheckpointError: If any byte is not as it was written, or ``path`` leaves the store.
        """
        _, _, files = self._read(path)
        return decode(files, self._where(path))

    def entries(self, trial: int | None = None) -> list[Entry]:
        """Returns the checkpoints by trial, step and kind; committed, but not yet verified.

        Raises:
            StorageError: If ``root`` is gone or unreadable.
        """
        return self._entries_of(lambda number: trial in (None, number))

    def _entries_of(self, is_wanted: Callable[[int], bool]) -> list[Entry]:
        try:
            folders = [e for e in os.scandir(self.root) if e.is_dir(follow_symlinks=False)]
            entries = []
            for folder in folders:
                number = _TRIAL.fullmatch(folder.name)
                if number and is_wanted(int(number[1])):
                    entries += _entries(int(number[1]), folder.name, Path(folder.path))
            return sorted(entries)
        except OSError as error:
            raise StorageError(
                f"Cannot read {self.root}: {(error.strerror or str(error)).lower()}. "
                "Mount or restore the folder, then `resume=true`."
            ) from error

    def latest(
        self, trial: int, kind: Kind = "step", differs: Differs = is_anyones
    ) -> tuple[Loaded | None, list[str]]:
        """Returns a trial's newest checkpoint that verifies and is its own, or None.

        Also returns one sentence for each newer one that is damaged or of another experiment. If
        all that verify are of another experiment, the newest of them is returned: then the trial's
        own settings have changed, and training refuses it with the differences.
        """
        warnings: list[str] = []
        foreign: tuple[Loaded, list[str]] | None = None
        for entry in reversed([e for e in self.entries(trial) if e.kind == kind]):
            try:
                manifest, _, files = self._read(entry.path)
                check_place(manifest, entry)
                snapshot = decode(files, self._where(entry.path))
            except CheckpointError as error:
                warnings.append(f"Passed over a damaged checkpoint: {error}")
                continue
            if not (found := differs(snapshot)):
                return Loaded(entry, snapshot), warnings
            foreign = foreign or (Loaded(entry, snapshot), list(warnings))
            warnings.append(
                f"Passed over {self._where(entry.path)}: another run wrote it (its "
                f"{' and '.join(found)} differ{'s' if len(found) == 1 else ''})."
            )
        return (None, warnings) if foreign is None else foreign

    def retain(
        self, best: Collection[int], finished: Collection[int], newest: int = 2
    ) -> list[Entry]:
        """Deletes what ``deletable`` returns, and returns it.

        A finished trial that keeps nothing is not looked at again, so that the time does not grow
        with their number.

        Raises:
            StorageError: If the disk refuses.
        """
        found = self._entries_of(lambda trial: trial not in self._settled)
        doomed = deletable(found, best, finished, newest)
        for entry in doomed:
            self._discard(entry.path)
        self._settled.update(set(finished).difference(best))
        return doomed

    def publish(self, path: str, destination: Path) -> None:
        """Copies the verified checkpoint at ``path`` to ``destination`` (the run's ``best/``).

        ``destination`` appears, or is replaced, in one step.

        Raises:
            CheckpointError: If the checkpoint does not verify; ``destination`` stays as it was.
            StorageError: If the disk refuses, or ``destination`` holds something else.
        """
        _, raw, files = self._read(path)
        _put_in_place(Path(destination), {**files, MANIFEST: raw})

    def sweep_orphans(self, older_than_s: float = 3600.0) -> list[Path]:
        """Deletes and returns what killed writers left; what living ones write stays."""
        parents = [self.root, *(p for p in self.root.glob("trial-*") if not p.is_symlink())]
        return [path for parent in parents for path in sweep_scratch(parent, older_than_s)]

    # -- where the bytes are ------------------------------------------------------------------

    def _where(self, path: str) -> str:
        """Returns the name of a checkpoint in messages."""
        return str(self.root / path)

    def _read(self, path: str) -> tuple[Manifest, bytes, dict[str, bytes]]:
        """Returns the manifest, its bytes and the verified files."""
        return _read(self._folder(path))

    def _discard(self, path: str) -> None:
        discard_folder(self.root / path)

    def _folder(self, path: str) -> Path:
        parts = PurePosixPath(path).parts
        if (
            len(parts) != 2
            or not _TRIAL.fullmatch(parts[0])
            or not _CHECKPOINT.fullmatch(parts[1])
            or any(p.is_symlink() for p in (self.root / parts[0], self.root / path))
        ):
            raise CheckpointError(
                f"A checkpoint of this store must be 'trial-<n>/<kind>-<step>', but is {path!r}. "
                "Use a path that `entries` gives."
            )
        return self.root / path


def _put_in_place(destination: Path, files: Mapping[str, bytes]) -> None:
    refuse_other_content(destination)
    sweep_scratch(destination.parent, older_than_s=3600.0)
    commit_folder(destination, files)


def packed(
    trial: int, step: int, snapshot: Snapshot, kind: Kind
) -> tuple[str, dict[str, bytes], Manifest]:
    """Returns what is to be written: the checkpoint's path, its files and its manifest.

    Raises:
        ValueError: If a number is negative or the snapshot holds what no checkpoint may.
    """
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
    return f"{trial_name(trial)}/{kind}-{step:06d}", files, manifest


def write_checkpoint(
    snapshot: Snapshot, destination: Path, trial: int = 0, step: int | None = None
) -> None:
    """Writes a checkpoint that no store holds (a rival, a team) to ``destination`` in one step.

    ``destination`` is a folder of this machine; ``trial`` and ``step`` are those of a team's best
    member, ``step`` None: the snapshot's own.

    Raises:
        StorageError: If the disk refuses, or ``destination`` holds something else.
    """
    refuse_other_content(destination)
    _, files, manifest = packed(
        trial, step_of(snapshot) if step is None else step, snapshot, "best"
    )
    try:
        destination.parent.mkdir(exist_ok=True)
    except OSError as error:
        raise cannot_write(destination, error, snapshot.nbytes) from error
    _put_in_place(destination, {**files, MANIFEST: manifest.to_bytes()})


def read_checkpoint(folder: Path) -> tuple[Manifest, Snapshot]:
    """Reads any checkpoint folder and verifies every byte of it before using one.

    Raises:
        CheckpointError: Naming the file and what is wrong with it: missing, truncated, changed, a
            link, an unknown format.
    """
    manifest, _, files = _read(folder)
    return manifest, decode(files, str(folder))


def checkpoint_files(folder: Path) -> dict[str, bytes]:
    """Returns the files of any checkpoint folder, all verified, with its manifest; raises the
    errors of ``read_checkpoint``."""
    _, raw, files = _read(folder)
    return {**files, MANIFEST: raw}


def _read(folder: Path) -> tuple[Manifest, bytes, dict[str, bytes]]:
    for _ in range(_MAX_READS - 1):
        with OpenFolder(folder) as opened:
            try:
                return _read_once(opened)
            except CheckpointError:
                if not opened.was_replaced():
                    raise
    with OpenFolder(folder) as opened:
        return _read_once(opened)


def _read_once(folder: OpenFolder) -> tuple[Manifest, bytes, dict[str, bytes]]:
    where = str(folder.path)
    raw = folder.read(MANIFEST, MAX_MANIFEST_BYTES)
    manifest = parse(raw, where)
    files = {}
    for name, expected in manifest.files.items():
        # One byte more than expected is enough to see that a file is too long.
        files[name] = folder.read(name, expected.size + 1)
        verify(name, files[name], expected, where)
    return manifest, raw, files


def _entries(trial: int, name: str, folder: Path) -> list[Entry]:
    found = []
    for child in os.scandir(folder):
        parts = _CHECKPOINT.fullmatch(child.name)
        if parts and child.is_dir(follow_symlinks=False):
            kind = cast(Kind, parts[1])
            found.append(Entry(trial, int(parts[2]), kind, f"{name}/{child.name}"))
    return found


def refuse_other_content(destination: Path) -> None:
    """Raises ``StorageError`` where a checkpoint would replace something else."""
    if destination.is_symlink() or (
        destination.exists()
        and not (destination / MANIFEST).exists()
        and not (destination.is_dir() and not any(destination.iterdir()))
    ):
        raise StorageError(
            f"{destination} must be a checkpoint to be replaced by one, but is something else. "
            "Move it away."
        )


def check_place(manifest: Manifest, entry: Entry) -> None:
    """Raises ``CheckpointError`` where a manifest belongs to another place."""
    if (manifest.trial, manifest.step, manifest.kind) != (entry.trial, entry.step, entry.kind):
        raise CheckpointError(
            f"{entry.path}: the manifest says trial {manifest.trial}, step {manifest.step}, kind "
            f"'{manifest.kind}': the folder was moved or copied here. Move it back."
        )


def trial_name(trial: int) -> str:
    """Returns the name of the folder of a trial's checkpoints."""
    return f"trial-{trial:04d}"
