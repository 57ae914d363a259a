"""Checks, before anything starts, that a store can write, read and delete a file."""

from __future__ import annotations

import tempfile
import uuid
from pathlib import Path

from jamba_ray.checkpoints import Patience, RemoteFolder
from jamba_ray.config.store_uri import StoreUri
from jamba_ray.errors import StorageError
from jamba_ray.runs.run_folder import RunFolder

_PATIENCE_S = 10.0
_CONTENT = b"1"


def probe(folder: RunFolder) -> None:
    """Writes, reads and deletes a small file where the run will be; nothing of it stays.

    Raises:
        StorageError: The folder or the bucket does not do all three.
    """
    _probe_folder(folder.path)
    if folder.remote is not None:
        _probe_bucket(folder.remote, folder.endpoint)


def _probe_folder(path: Path) -> None:
    """Checks the folder or, where it does not exist yet, its nearest existing parent."""
    place = next(p for p in (path.absolute(), *path.absolute().parents) if p.exists())
    try:
        with tempfile.TemporaryFile(dir=place) as file:
            file.write(_CONTENT)
            file.flush()
            file.seek(0)
            file.read()
    except OSError as error:
        raise StorageError(
            f"the run folder must be writable, but {str(path)!r} is not "
            f"({error.strerror or error}). Choose another `store=`."
        ) from error


def _probe_bucket(run: StoreUri, endpoint: str | None) -> None:
    """Checks the place beside the run, because a leftover object must not look like a run."""
    place = StoreUri(run.scheme, run.path.rpartition("/")[0])
    patience = Patience(deadline_s=_PATIENCE_S)
    store = RemoteFolder(place, endpoint, patience=patience, answers_within_s=_PATIENCE_S)
    name = f".probe-{uuid.uuid4().hex}"
    store.write(name, _CONTENT)
    found = store.read(name, len(_CONTENT) + 1)
    store.delete(name)
    if found != _CONTENT:
        raise StorageError(
            f"the store must give back what was written, but {place}/{name} came back as {found!r}."
            " Choose another `store=`."
        )
