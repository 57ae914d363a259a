"""The copy of a run in its remote store: what survives the loss of the driver's machine.

Lanes write checkpoints there themselves. The driver adds the study, copied while it runs, and at
the end the results, the trials' rows as one object. The local files stay the truth while their
machine lives.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import sqlite3
import tempfile
import time
import zlib
from pathlib import Path

from jamba_ray.checkpoints import Patience, RemoteFolder
from jamba_ray.checkpoints.manifest import MANIFEST
from jamba_ray.config.store_uri import StoreUri
from jamba_ray.errors import StorageError
from jamba_ray.launch.run_folder import RunFolder, write_bytes
from jamba_ray.tracking.rows import row_files, take_rows

COPY_EVERY_S = 8.0
"""The loss of the head costs at most ten seconds: these, and what a copy itself takes."""
_RESULTS = (
    *("config.yaml", "trials.parquet", "summary.json", "scores.parquet", "log.txt"),
    *("report.html", "report.md"),
)
_READ = ("config.yaml", "study.db", "summary.json", "scores.parquet")
"""What a report is made of, beside the rows."""
_ROWS = "rows.jsonl.gz"
_MAX_BYTES = 2_000_000_000
_TABLES = ("trials", "trial_intermediate_values", "trial_user_attributes")


class Mirror:
    """Copies one run to ``folder.remote`` and, on another machine, back."""

    def __init__(self, folder: RunFolder, uri: StoreUri, patience: Patience | None = None) -> None:
        self._folder = folder
        self._remote = RemoteFolder(
            uri, folder.endpoint, patience=patience or Patience(deadline_s=30.0)
        )
        self._copied_at = -COPY_EVERY_S
        self._copied_size = (-1, -1, -1)

    def fetch(self) -> str | None:
        """Before a resume: take the store's study where it is further than the local one, as after
        the loss of the machine that wrote it. Returns a sentence for the log.

        Rows that are there and not here are taken too.

        Raises:
            StorageError: The store does not answer.
        """
        self._fetch_rows()
        found = self._remote.read("study.db", _MAX_BYTES)
        if found is None:
            return None
        local = self._folder.study
        with tempfile.TemporaryDirectory() as scratch:
            copy = Path(scratch) / "study.db"
            copy.write_bytes(found)
            theirs, ours = _size(copy), _size(local)
        if theirs <= ours:
            return None
        for leftover in local.parent.glob("study.*"):
            leftover.unlink()
        write_bytes(local, found)
        return f"continuing the study in {self._remote.uri} ({theirs[0]} trials begun)"

    def push_study_if_due(self) -> None:
        """Copy the study where it has changed, not too often.

        Raises:
            StorageError: The store does not take it; the next call tries again.
        """
        if time.monotonic() - self._copied_at >= COPY_EVERY_S:
            self._copied_at = time.monotonic()
            self.push_study()

    def push_study(self) -> None:
        """Copy the study as of its last commit, if it has changed since the last copy.

        Raises:
            StorageError: See ``push_study_if_due``.
        """
        size = _size(self._folder.study)
        if size == self._copied_size or size[0] < 0:
            return
        if self._copied_size[0] < 0 and self._folder.config.is_file():
            # With it the copy can be read as a run, while the sweep goes on and after a crash.
            self._remote.write("config.yaml", self._folder.config.read_bytes())
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

    def push_results(self) -> None:
        """Copy the study, results, rows, lane logs and ``best/``, whose manifest goes last.

        Raises:
            StorageError: The store does not take one of them.
        """
        self.push_study()
        path = self._folder.path
        files = [path / name for name in _RESULTS]
        for file in [*files, *sorted(self._folder.logs.glob("*.log"))]:
            if file.is_file():
                self._remote.write(file.relative_to(path).as_posix(), file.read_bytes())
        if lines := b"\n".join(file.read_bytes() for file in row_files(path)):
            self._remote.write(_ROWS, gzip.compress(lines, compresslevel=6))
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
        self._fetch_rows()

    def push_report(self, *files: Path) -> None:
        """Copy files into the run's folder there; raises StorageError."""
        for file in files:
            self._remote.write(file.name, file.read_bytes())

    def _fetch_rows(self) -> None:
        found = self._remote.read(_ROWS, _MAX_BYTES)
        if found is None:
            return
        try:
            with gzip.open(io.BytesIO(found)) as file:
                lines = file.read(_MAX_BYTES).splitlines()
        except (OSError, EOFError, zlib.error):
            return  # rows are a convenience: what is damaged is left out, as a torn line is
        take_rows(self._folder.path, lines)

    def exists(self) -> bool:
        """Whether the store holds something of this run."""
        return bool(self._remote.names())

    def delete(self) -> None:
        """Remove the run from the store: manifests first, so that no checkpoint is left half."""
        names = self._remote.names()
        for name in sorted(names, key=lambda n: not n.endswith(MANIFEST)):
            self._remote.delete(name)


def mirror_of(folder: RunFolder) -> Mirror | None:
    """The mirror of a run whose store is remote."""
    return None if folder.remote is None else Mirror(folder, folder.remote)


def _size(path: Path) -> tuple[int, int, int]:
    """Rows of a study, (-1, -1, -1) where there is none: a study only grows."""
    if not path.is_file() or path.stat().st_size == 0:
        return (-1, -1, -1)
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
