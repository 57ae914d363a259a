"""Names the files of one run; other modules build on this layout."""

from __future__ import annotations

import atexit
import contextlib
import itertools
import json
import os
import shutil
import tempfile
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jamba_ray.checkpoints import (
    CheckpointStore,
    Patience,
    RemoteCheckpointStore,
    RemoteFolder,
)
from jamba_ray.config.store_uri import StoreUri, parse_store
from jamba_ray.config.yaml_text import YamlTextError, read_yaml
from jamba_ray.errors import RunExistsError, StorageError
from jamba_ray.runs.file_writes import sync_folder
from jamba_ray.runs.run_contents import why_no_copy, why_no_run

LOGS = "logs"
RIVALS = "rivals"
CERTIFY = "certify"
SCRATCH = "runs"
"""Local folder of runs whose store is remote."""


@dataclass(frozen=True)
class RunFolder:
    """Names the files of one run; creates nothing until ``create`` is called."""

    path: Path
    remote: StoreUri | None = None
    """The run in its remote store: checkpoints are written there, the rest is copied there."""
    endpoint: str | None = None
    """Address of that store, where it is not the cloud's own."""

    @classmethod
    def of(cls, store: str, run: str, endpoint: str | None = None) -> RunFolder:
        """Returns the folder of a run in ``store``: a local folder or a bucket."""
        place = parse_store(store)
        if isinstance(place, str):
            return cls(Path(place) / run)
        return cls(Path(SCRATCH) / run, place.child(run), endpoint)

    def checkpoint_store(self, patience_s: float | None = None) -> CheckpointStore:
        """Returns the store of this run's checkpoints.

        ``patience_s`` is for a caller that retries by itself for so many seconds
        (``runs.refusal.retry_store``); None: the store retries a bucket.
        """
        if self.remote is None:
            return CheckpointStore(self.checkpoints)
        place = self.remote.child("checkpoints")
        if patience_s is None:
            return RemoteCheckpointStore(RemoteFolder(place, self.endpoint))
        once = Patience(deadline_s=0.0)
        return RemoteCheckpointStore(
            RemoteFolder(place, self.endpoint, patience=once, answers_within_s=patience_s)
        )

    @property
    def name(self) -> str:
        """Returns the run's name, which ``run=`` takes."""
        return self.path.name

    @property
    def config(self) -> Path:
        """Returns the path of the resolved configuration."""
        return self.path / "config.yaml"

    def read_config(self) -> dict[str, Any]:
        """Reads the resolved configuration as plain values.

        Raises:
            StorageError: It cannot be read, or is not YAML.
        """
        try:
            tree = read_yaml(self.config)
        except (OSError, YamlTextError) as error:
            why = error.strerror if isinstance(error, OSError) else error
            raise StorageError(
                f"{str(self.config)!r} must be a run's configuration, but is not ({why}); restore "
                "it from a copy of the run."
            ) from error
        return tree if isinstance(tree, dict) else {}

    @property
    def study(self) -> Path:
        """Returns the path of the study: Optuna's operations, one JSON object a line."""
        return self.path / "study.journal"

    @property
    def study_copy(self) -> Path:
        """Returns the path of the study's copy, from which damage is repaired."""
        return self.path / "study.copy.journal"

    @property
    def trials(self) -> Path:
        """Returns the path of the table with one row per trial."""
        return self.path / "trials.parquet"

    @property
    def summary(self) -> Path:
        """Returns the path of the result, which is strict JSON."""
        return self.path / "summary.json"

    def read_summary(self) -> dict[str, Any]:
        """Reads the result with today's names; empty where it is missing or is no JSON object."""
        try:
            found = json.loads(self.summary.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        if not isinstance(found, dict):
            return {}
        if "rival" in found:  # the name in version 0.1
            found.setdefault("baseline", found.pop("rival"))
        return found

    @property
    def scores(self) -> Path:
        """Returns the path of the winner's probability for each row that it was judged on."""
        return self.path / "scores.parquet"

    @property
    def reference(self) -> Path:
        """Returns the path of the rows that ``watch`` holds later rows against."""
        return self.path / "reference.parquet"

    @property
    def report(self) -> Path:
        """Returns the path of the report, one HTML file."""
        return self.path / "report.html"

    @property
    def checkpoints(self) -> Path:
        """Returns the root of the checkpoint store."""
        return self.path / "checkpoints"

    @property
    def best(self) -> Path:
        """Returns the folder of the winner, which ``jamba_ray.load`` reads."""
        return self.path / "best"

    @property
    def rivals(self) -> Path:
        """Returns the folder that holds one of each default model the winner is held against."""
        return self.path / RIVALS

    @property
    def certify(self) -> Path:
        """Returns the folder of the models that were trained again with further seeds."""
        return self.path / CERTIFY

    @property
    def log(self) -> Path:
        """Returns the path of the command's log."""
        return self.path / "log.txt"

    @property
    def logs(self) -> Path:
        """Returns the folder of the runners' logs, with the tracebacks of failed trials."""
        return self.path / LOGS

    def exists(self) -> bool:
        """Says whether there is a file or a folder with content at the path."""
        return self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir()))

    def refuse_if_used(self, *, resume: bool = False, overwrite: bool = False) -> None:
        """Raises RunExistsError if the name is used and may not be; writes nothing.

        That is so without ``resume`` and ``overwrite``, and if ``overwrite`` would delete something
        that is not a run.
        """
        if not self.exists() or resume:
            return
        if not overwrite:
            raise used_name(str(self.path))
        if (why := self._why_no_run()) is not None:
            raise not_replaceable(str(self.path), why)

    def create(self, *, resume: bool = False, overwrite: bool = False) -> RunFolder:
        """Creates the folder, or accepts a used one where ``resume`` or ``overwrite`` says so.

        With ``overwrite`` the old run is renamed first and deleted last, so that a crash leaves the
        old run whole under a hidden name or the new one alone. With ``resume`` and nothing to
        resume the run starts afresh.

        Raises:
            RunExistsError: See ``refuse_if_used``.
            StorageError: The folder cannot be made or written.
        """
        self.refuse_if_used(resume=resume, overwrite=overwrite)
        try:
            if overwrite and not resume:
                if self.exists():
                    _rename_aside(self.path)
                self._make()
                _delete_aside(self.path)
            else:
                self._make()
        except OSError as error:
            raise StorageError(
                f"the run folder must be writable, but {str(self.path)!r} is not "
                f"({error.strerror or error}). Choose another `store=`."
            ) from error
        return self

    def _make(self) -> None:
        for folder in (self.path, self.checkpoints, self.logs):
            folder.mkdir(parents=True, exist_ok=True)
        _try_to_write(self.path)

    def _why_no_run(self) -> str | None:
        if self.path.is_symlink() or not self.path.is_dir():
            return f"it is a {'link' if self.path.is_symlink() else 'file'}"
        files: list[str] = []
        folders: list[str] = []
        for entry in self.path.rglob("*"):
            is_folder = entry.is_dir() and not entry.is_symlink()
            (folders if is_folder else files).append(entry.relative_to(self.path).as_posix())
        return (why_no_run if self.remote is None else why_no_copy)(files, folders)


def used_name(place: str) -> RunExistsError:
    """Returns the error for a run name that is used at ``place``."""
    return RunExistsError(
        f"the run name must be unused, but {place!r} exists. Continue it with `resume=true`, "
        "replace it with `overwrite=true`, or choose another `run=`."
    )


def not_replaceable(place: str, why: str) -> RunExistsError:
    """Returns the error of ``overwrite`` where something other than a run is at ``place``."""
    return RunExistsError(
        f"`overwrite=true` must replace a run and nothing else, but {place!r} is not wholly a run: "
        f"{why}. Choose another `run=`, or move it away."
    )


def unused_name(store: str, what: str) -> str:
    """Returns an unused name for a run: what it is and when it began, in local time.

    Its folder is made at once and so belongs to one process, also where a loop starts several
    within a second; if it is still empty when this process ends, it is deleted.
    """
    stem = f"{what}-{time.strftime('%Y%m%d-%H%M%S')}"
    names = itertools.chain([stem], (f"{stem}-{i}" for i in itertools.count(2)))
    return next(name for name in names if _take(RunFolder.of(store, name).path))


def _take(folder: Path) -> bool:
    """Creates a run's folder; False where another run has it, True also where the disk refuses."""
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        return not folder.parent.is_dir()
    except OSError:
        return True
    atexit.register(_delete_empty, folder)
    return True


def _delete_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()
        folder.parent.rmdir()


def _try_to_write(folder: Path) -> None:
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(b"1")


def _rename_aside(path: Path) -> None:
    os.rename(path, path.with_name(f".{path.name}.replaced-{uuid.uuid4().hex[:8]}"))
    sync_folder(path.parent)


def _delete_aside(path: Path) -> None:
    """Deletes renamed runs, also those of a process that was killed before it could."""
    for old in path.parent.glob(f".{path.name}.replaced-????????"):
        shutil.rmtree(old, ignore_errors=True)
