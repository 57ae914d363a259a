"""The copy of a run in its remote store: what survives the loss of the driver's machine.

Runners write checkpoints there themselves. The driver adds the study, the trials' rows and the
logs, copied while it runs, and at the end the results. The local files stay the truth while their
machine lives.
"""

from __future__ import annotations

import contextlib
import sqlite3
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from jamba_ray.checkpoints import Patience, RemoteFolder
from jamba_ray.checkpoints.manifest import MANIFEST
from jamba_ray.config.store_uri import StoreUri
from jamba_ray.errors import StorageError
from jamba_ray.runs.bucket_rows import BucketRows
from jamba_ray.runs.run_contents import BEING_DELETED
from jamba_ray.runs.run_folder import RunFolder, write_bytes

_RESULTS = (
    *("config.yaml", "trials.parquet", "summary.json", "scores.parquet"),
    *("report.html", "report.md"),
)
_READ = ("config.yaml", "study.db", "summary.json", "scores.parquet")
"""What a report is made of, beside the rows."""
_MAX_BYTES = 2_000_000_000
_PATIENCE = Patience(deadline_s=30.0)
_STUDY_FILES = ("study.db", "study.db-wal", "study.db-shm", "study.copy.db", "study.redo")
_NONE = (-1, -1, -1)
_TABLES = ("trials", "trial_intermediate_values", "trial_user_attributes")


class BucketReplica:
    """Copies one run to ``folder.remote`` and, on another machine, back."""

    def __init__(
        self, folder: RunFolder, uri: StoreUri, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._folder = folder
        self._remote = RemoteFolder(uri, folder.endpoint, patience=_PATIENCE, sleep=sleep)
        self._rows = BucketRows(folder.path, self._remote)
        self._copied_size = _NONE
        self._copied_config = False
        self._copied_logs: dict[Path, tuple[int, int]] = {}

    def fetch(self) -> str | None:
        """Before a resume: take the store's study where it is further than the local one, as after
        the loss of the machine that wrote it. Returns a sentence for the log. A local study that is
        damaged counts as none: make it good first. What is replaced is kept under another name.

        Rows that are there and not here are taken too, and the log.

        Raises:
            StorageError: The store does not answer.
        """
        self._rows.fetch()
        log = None if self._folder.log.exists() else self._remote.read("log.txt", _MAX_BYTES)
        if log is not None:
            write_bytes(self._folder.log, log)  # it goes on there, and is copied whole
        found = self._remote.read("study.db", _MAX_BYTES)
        if found is None:
            return None
        local = self._folder.study
        with tempfile.TemporaryDirectory() as scratch:
            copy = Path(scratch) / "study.db"
            copy.write_bytes(found)
            theirs = _size(copy)
        try:
            ours = _size(local)
        except StorageError:
            ours = _NONE
        if theirs <= ours:
            return None
        stamp = time.strftime("%Y%m%d-%H%M%S")
        for name in _STUDY_FILES:
            with contextlib.suppress(FileNotFoundError):
                (local.parent / name).rename(local.parent / f"{name}.replaced-{stamp}")
        write_bytes(local, found)
        return f"continuing the study in {self._remote.uri} ({theirs[0]} trials begun)"

    def push_study(self) -> None:
        """Copy the study as of its last commit, if it has changed since the last copy.

        Raises:
            StorageError: The store does not take it; the next call tries again.
        """
        size = _size(self._folder.study)
        if size == self._copied_size or size[0] < 0:
            return
        self._push_config()
        with tempfile.TemporaryDirectory() as scratch:
            copy = Path(scratch) / "study.db"
            with (
                contextlib.closing(sqlite3.connect(self._folder.study, timeout=30.0)) as source,
                contextlib.closing(sqlite3.connect(copy)) as target,
            ):
                source.backup(target)
                target.execute("PRAGMA journal_mode=DELETE")
            self._remote.write("study.db", copy.read_bytes())
        self._copied_size = size

    def push_rows(self) -> None:
        """Copy the rows and logs that were written since the last copy.

        Raises:
            StorageError: See ``push_study``.
        """
        self._push_config()
        self._rows.push_new()
        for file in self._logs():
            state = file.stat()
            stamp = (state.st_size, state.st_mtime_ns)
            if self._copied_logs.get(file) != stamp:
                self._push(file)
                self._copied_logs[file] = stamp

    def push_results(self) -> None:
        """Copy the study, results, rows, runner logs and ``best/``, whose manifest goes last.

        Raises:
            StorageError: The store does not take one of them.
        """
        self.push_study()
        for file in [*(self._folder.path / name for name in _RESULTS), *self._logs()]:
            if file.is_file():
                self._push(file)
        self._rows.push_all()
        manifest = self._folder.best / MANIFEST
        if manifest.is_file():
            # Between the two there is no `best/`, rather than a mixture of old and new.
            self._remote.delete(f"best/{MANIFEST}")
            for file in sorted(self._folder.best.iterdir()):
                if file.name != MANIFEST:
                    self._remote.write(f"best/{file.name}", file.read_bytes())
            self._remote.write(f"best/{MANIFEST}", manifest.read_bytes())

    def fetch_results(self) -> None:
        """Take what a report is made of into the folder, which is new.

        Raises:
            StorageError: There is no run in the store, or it does not answer.
        """
        for name in _READ:
            if (found := self._remote.read(name, _MAX_BYTES)) is not None:
                write_bytes(self._folder.path / name, found)
        if not self._folder.config.is_file():
            raise StorageError(
                f"{self._remote.uri} must be a run (with `config.yaml`), but is none. Give the run "
                "of a sweep, such as 's3://bucket/sweeps/<run>'."
            )
        self._rows.fetch()

    def push_report(self, *files: Path) -> None:
        """Copy files into the run's folder there; raises StorageError."""
        for file in files:
            self._remote.write(file.name, file.read_bytes())

    def names(self) -> list[str]:
        """The objects that the store holds of this run."""
        return self._remote.names()

    def is_being_deleted(self) -> bool:
        """Whether a process that deleted the run was killed before it came to the end."""
        return self._remote.read(BEING_DELETED, 1) is not None

    def delete(self) -> None:
        """Remove the run from the store. A bucket cannot rename: a mark, written first and deleted
        last, says that what is left is no run, should this process be killed meanwhile."""
        names = set(self.names()) - {BEING_DELETED}
        if names:
            self._remote.write(BEING_DELETED, b"1")
        for name in sorted(names, key=lambda n: not n.endswith(MANIFEST)):
            self._remote.delete(name)
        self._remote.delete(BEING_DELETED)

    def _push_config(self) -> None:
        """With it the copy can be read as a run, while it goes on and after a crash."""
        if not self._copied_config and self._folder.config.is_file():
            self._push(self._folder.config)
            self._copied_config = True

    def _push(self, file: Path) -> None:
        name = file.relative_to(self._folder.path).as_posix()
        self._remote.write(name, file.read_bytes())

    def _logs(self) -> list[Path]:
        log = [self._folder.log] if self._folder.log.is_file() else []
        return [*log, *sorted(self._folder.logs.glob("*.log"))]


def replica_of(
    folder: RunFolder, sleep: Callable[[float], None] = time.sleep
) -> BucketReplica | None:
    """The replica of a run whose store is remote; ``sleep`` waits before a store that refused is
    asked again."""
    return None if folder.remote is None else BucketReplica(folder, folder.remote, sleep=sleep)


def _size(path: Path) -> tuple[int, int, int]:
    """Rows of a study, (-1, -1, -1) where there is none: a study only grows."""
    if not path.is_file() or path.stat().st_size == 0:
        return _NONE
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=30.0)) as connection:
            counts = [
                int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])
                for table in _TABLES
            ]
    except sqlite3.Error as error:
        raise StorageError(
            f"the study must be readable, but {str(path)!r} is not ({error}). "
            "Restore it from a copy, or start a new run."
        ) from error
    return counts[0], counts[1], counts[2]
