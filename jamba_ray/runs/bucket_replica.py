"""Copies a run to its remote store, which survives the loss of the driver's machine.

Runners write checkpoints there themselves. The driver adds the study, the trials' rows and the logs
while it runs, and the results at the end. While their machine lives, the local files are the source
of truth.
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
from jamba_ray.errors import NoRunError, StorageError
from jamba_ray.runs.bucket_rows import BucketRows
from jamba_ray.runs.checked_lines import content_of, merge
from jamba_ray.runs.file_writes import write_bytes
from jamba_ray.runs.journal_parts import JournalParts
from jamba_ray.runs.run_contents import BEING_DELETED
from jamba_ray.runs.run_folder import CERTIFY, RIVALS, RunFolder

_RESULTS = (
    *("config.yaml", "trials.parquet", "summary.json", "scores.parquet", "reference.parquet"),
    *("report.html", "report.md"),
)
_OLD_STUDY = "study.db"
"""The study of version 0.1; a whole copy of its local file."""
_OLD_STUDY_FILES = (_OLD_STUDY, "study.copy.db", "study.db-wal", "study.db-shm", "study.redo")
_OLD_TABLES = ("trials", "trial_intermediate_values", "trial_user_attributes")
_READ = ("config.yaml", _OLD_STUDY, "summary.json", "scores.parquet")
"""The files that a report needs, beside the study and the rows."""
_BEGUN = b'{"op_code":4,'
"""The beginning of Optuna's operation that creates a trial."""
_MAX_BYTES = 2_000_000_000
_PATIENCE = Patience(deadline_s=30.0)


class BucketReplica:
    """Copies one run to ``folder.remote`` and, on another machine, back."""

    def __init__(
        self, folder: RunFolder, uri: StoreUri, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._folder = folder
        self._remote = RemoteFolder(uri, folder.endpoint, patience=_PATIENCE, sleep=sleep)
        self._rows = BucketRows(folder.path, self._remote)
        self._journal = JournalParts(folder.study, self._remote)
        self._copied_config = self._removed_old_study = False
        self._copied_logs: dict[Path, tuple[int, int]] = {}

    def fetch(self) -> str | None:
        """Takes the store's study before a resume, if it has more commits than the local one.

        That is so after the loss of the machine that wrote it. A damaged local study counts with
        what it and its copy still hold together, and a study that is replaced is kept. Rows that
        are missing here are taken too, and the log. Returns a sentence for the log.

        Raises:
            StorageError: The store does not answer.
        """
        self._rows.fetch()
        log = None if self._folder.log.exists() else self._remote.read("log.txt", _MAX_BYTES)
        if log is not None:
            write_bytes(self._folder.log, log)  # lines are added to it, and it is copied whole
        if not (n_commits := self._journal.n_commits()):
            return self._fetch_old_study()
        local = [content_of(self._folder.study), content_of(self._folder.study_copy)]
        ours = merge(*local)
        if n_commits <= ours.end.commits:
            return None
        theirs = merge(self._journal.read(), b"")
        lost = n_commits - theirs.end.commits
        if theirs.end.commits <= ours.end.commits:
            if not ours.data:
                raise StorageError(
                    f"the study in {self._remote.uri} must be intact, but `study/` is damaged. "
                    "Restore an older version of its objects, or choose another `run=`."
                )
            return None
        kept = ""
        if any(local):
            kept = f".replaced-{time.strftime('%Y%m%d-%H%M%S')}"
            for file in (self._folder.study, self._folder.study_copy):
                with contextlib.suppress(FileNotFoundError):
                    file.rename(file.with_name(file.name + kept))
            kept = f"; the {ours.data.count(_BEGUN)} trials that were here are kept as *{kept}"
        write_bytes(self._folder.study, theirs.data)
        n = theirs.data.count(_BEGUN)
        if lost > 0:
            kept += f"; {lost} commits after that are damaged there, and their work is done again"
        return f"continuing the study in {self._remote.uri} ({n} trials begun{kept})"

    def push_study(self) -> None:
        """Copies what was added to the study since the last copy.

        Raises:
            StorageError: The store refuses; the next call tries again.
        """
        if not self._folder.study.exists():
            return
        self._push_config()
        self._journal.push()
        if not self._removed_old_study:
            self._remote.delete(_OLD_STUDY)
            self._removed_old_study = True

    def push_rows(self) -> None:
        """Copies the rows and logs that were written since the last copy.

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
        """Copies the study, results, rows, runner logs, ``best/``, ``rivals/`` and ``certify/``.

        Raises:
            StorageError: The store does not take one of them.
        """
        self.push_study()
        for file in [*(self._folder.path / name for name in _RESULTS), *self._logs()]:
            if file.is_file():
                self._push(file)
        self._rows.push_all()
        for folder in (RIVALS, CERTIFY):
            for manifest in sorted(self._folder.path.glob(f"{folder}/*/{MANIFEST}")):
                self._push_checkpoint(manifest)
        if (manifest := self._folder.best / MANIFEST).is_file():
            self._push_checkpoint(manifest)

    def _push_checkpoint(self, manifest: Path) -> None:
        """Copies a checkpoint folder: its manifest is deleted first and written last, so that no
        reader sees a mixture of files."""
        prefix = manifest.parent.relative_to(self._folder.path).as_posix()
        self._remote.delete(f"{prefix}/{MANIFEST}")
        for file in sorted(manifest.parent.iterdir()):
            if file.name != MANIFEST:
                self._remote.write(f"{prefix}/{file.name}", file.read_bytes())
        self._remote.write(f"{prefix}/{MANIFEST}", manifest.read_bytes())

    def fetch_results(self) -> None:
        """Fetches the files that a report needs into the folder, which is new.

        Raises:
            StorageError: There is no run in the store, or it does not answer.
        """
        if study := self._journal.read():
            write_bytes(self._folder.study, study)
        for name in _READ:
            if (found := self._remote.read(name, _MAX_BYTES)) is not None:
                write_bytes(self._folder.path / name, found)
        if not self._folder.config.is_file():
            raise NoRunError(
                f"{self._remote.uri} must be a run (with `config.yaml`), but is none. Give the run "
                "of a sweep, such as 's3://bucket/sweeps/<run>'."
            )
        self._rows.fetch()

    def push_report(self, *files: Path) -> None:
        """Copies files into the run's folder in the store; raises StorageError."""
        for file in files:
            self._remote.write(file.name, file.read_bytes())

    def names(self) -> list[str]:
        """Returns the names of the run's objects in the store."""
        return self._remote.names()

    def is_being_deleted(self) -> bool:
        """Says whether a process that deleted the run was killed before it had finished."""
        return self._remote.read(BEING_DELETED, 1) is not None

    def delete(self) -> None:
        """Deletes the run from the store.

        A bucket cannot rename: a mark, written first and deleted last, says that the rest is no
        run, if this process is killed meanwhile.
        """
        names = set(self.names()) - {BEING_DELETED}
        if names:
            self._remote.write(BEING_DELETED, b"1")
        for name in sorted(names, key=lambda n: not n.endswith(MANIFEST)):
            self._remote.delete(name)
        self._remote.delete(BEING_DELETED)

    def _fetch_old_study(self) -> str | None:
        """Fetches the study of an earlier version, where neither side has a journal."""
        if any(map(content_of, (self._folder.study, self._folder.study_copy))):
            return None
        if (found := self._remote.read(_OLD_STUDY, _MAX_BYTES)) is None:
            return None
        local = [self._folder.path / name for name in _OLD_STUDY_FILES]
        with tempfile.TemporaryDirectory() as scratch:
            theirs = Path(scratch) / _OLD_STUDY
            theirs.write_bytes(found)
            if _old_size(theirs) <= max(_old_size(local[0]), _old_size(local[1])):
                return None
        kept = f".replaced-{time.strftime('%Y%m%d-%H%M%S')}"
        for file in local:
            with contextlib.suppress(FileNotFoundError):
                file.rename(file.with_name(file.name + kept))
        write_bytes(local[0], found)
        return f"continuing the study in {self._remote.uri}, which an earlier version began"

    def _push_config(self) -> None:
        """Copies the configuration once, so that the copy can be read as a run at any time."""
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
    """Returns the replica of a run whose store is remote; ``sleep`` waits between two tries."""
    return None if folder.remote is None else BucketReplica(folder, folder.remote, sleep=sleep)


def _old_size(path: Path) -> tuple[int, ...]:
    """Returns the row counts of a study in SQLite, to compare two; empty where it is damaged."""
    try:
        with contextlib.closing(
            sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        ) as c:
            return tuple(c.execute(f"SELECT count(*) FROM {t}").fetchone()[0] for t in _OLD_TABLES)
    except sqlite3.Error:
        return ()
