"""Opens runs in a bucket, so that they are read like those in a folder."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from jamba_ray.config.store_uri import StoreUri, parse_store
from jamba_ray.reports.run import Run, find_run
from jamba_ray.runs.bucket_replica import BucketReplica
from jamba_ray.runs.run_folder import RunFolder


def place_of(name: str, store: str) -> StoreUri | None:
    """Returns the URI of a run in a bucket, given by that URI or by its name in ``store``.

    None: the run is in a folder.
    """
    place = parse_store(name)
    if isinstance(place, StoreUri):
        return place
    inside = parse_store(f"{store}/{name}" if "://" in store else store)
    return inside if isinstance(inside, StoreUri) else None


@contextlib.contextmanager
def opened(name: str, store: str, endpoint: str | None = None) -> Iterator[Run]:
    """Yields a run given by name, folder or URI.

    For a run in a bucket the files that a report needs are copied to a temporary folder, which is
    deleted afterwards.

    Raises:
        NoRunError: There is no such run.
        StorageError: The bucket does not answer.
    """
    place = place_of(name, store)
    if place is None:
        yield Run(find_run(name, store))
        return
    with tempfile.TemporaryDirectory(prefix="jamba-ray-run-") as scratch:
        folder = RunFolder(Path(scratch) / place.path.rpartition("/")[2], place, endpoint)
        folder.path.mkdir()
        BucketReplica(folder, place).fetch_results()
        yield Run(folder.path, copy_of=str(place))
