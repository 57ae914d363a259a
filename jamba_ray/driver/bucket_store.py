"""A run folder where its store is a bucket: taken up before, copied there at the end."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from jamba_ray.config.run import ExperimentConfig
from jamba_ray.errors import RunExistsError, StorageError
from jamba_ray.runs.bucket_replica import replica_of
from jamba_ray.runs.run_folder import RunFolder
from jamba_ray.runs.run_log import RunLog
from jamba_ray.study import recovery


def folder_of(config: ExperimentConfig) -> RunFolder:
    """The run folder of a sweep or training whose ``run`` is settled."""
    return RunFolder.of(config.store, str(config.run), config.store_endpoint)


def refuse_if_used(folder: RunFolder, config: ExperimentConfig) -> None:
    """Raise ``RunExistsError`` if the name is used, here or in the bucket; writes nothing."""
    folder.refuse_if_used(resume=config.resume, overwrite=config.overwrite)
    replica = replica_of(folder)
    if replica is not None and not (config.resume or config.overwrite) and replica.exists():
        raise RunExistsError(
            f"the run name must be unused, but {folder.remote} exists. "
            "Continue it with `resume=true`, replace it with `overwrite=true`, "
            "or choose another `run=`."
        )


def create(folder: RunFolder, config: ExperimentConfig) -> str | None:
    """Make the folder and, to continue a run of another machine, fetch its study. Returns what was
    restored and fetched, as sentences.

    Raises:
        StorageError: The folder cannot be written, or the bucket does not answer.
    """
    replica = replica_of(folder)
    if replica is not None and config.overwrite and not config.resume:
        replica.delete()
    folder.create(resume=config.resume, overwrite=config.overwrite)
    if replica is None or not config.resume:
        return None
    # Made good first: what lies here in pieces may still be newer than what the bucket has.
    said = [recovery.make_good(folder.study), replica.fetch()]
    return " ".join(sentence for sentence in said if sentence) or None


@contextlib.contextmanager
def stored(folder: RunFolder, log: RunLog) -> Iterator[None]:
    """Copy the results to the bucket when the run ends, however it ends.

    Raises:
        StorageError: The run itself ended well, but the bucket does not take its results.
    """
    replica = replica_of(folder)
    if replica is None:
        yield
        return
    try:
        yield
    except BaseException:
        try:
            replica.push_results()
        except StorageError as error:
            log.write(error.message)
        raise
    replica.push_results()
