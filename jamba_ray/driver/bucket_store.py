"""Prepares a run folder whose store is a bucket, and copies its results there at the end."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from jamba_ray.config.run import ExperimentConfig
from jamba_ray.errors import StorageError
from jamba_ray.runs.bucket_replica import replica_of
from jamba_ray.runs.file_writes import RunLog
from jamba_ray.runs.run_contents import why_no_run_in_bucket
from jamba_ray.runs.run_folder import RunFolder, not_replaceable, used_name
from jamba_ray.study.lease import check_free


def folder_of(config: ExperimentConfig) -> RunFolder:
    """Returns the run folder of a sweep or training whose ``run`` is set."""
    return RunFolder.of(config.store, str(config.run), config.store_endpoint)


def refuse_if_used(folder: RunFolder, config: ExperimentConfig) -> None:
    """Raises ``RunExistsError`` if the run may not be created; writes nothing.

    That is so if the name is used, here or in the bucket, if a driver writes the run, or if
    ``overwrite`` would delete something that is not a run.
    """
    folder.refuse_if_used(resume=config.resume, overwrite=config.overwrite)
    check_free(folder.study)
    replica = replica_of(folder)
    if replica is None or config.resume:
        return
    names = replica.names()
    if names and not config.overwrite:
        raise used_name(str(folder.remote))
    if (why := why_no_run_in_bucket(names)) is not None:
        raise not_replaceable(str(folder.remote), why)


def create(folder: RunFolder, config: ExperimentConfig) -> str | None:
    """Creates the folder and, to continue another machine's run, fetches its study from the bucket.

    Returns a sentence about what was fetched.

    Raises:
        RunExistsError: See ``refuse_if_used``.
        StorageError: The folder cannot be written, or the bucket does not answer.
    """
    replica = replica_of(folder)
    refuse_if_used(folder, config)  # again: reading the data took time
    folder.create(resume=config.resume, overwrite=config.overwrite)
    replaced = config.overwrite and not config.resume
    # The bucket last: a study here without its checkpoints there would lose what it trained.
    if replica is not None and (replaced or replica.is_being_deleted()):
        replica.delete()
    return replica.fetch() if replica is not None and config.resume else None


@contextlib.contextmanager
def stored(folder: RunFolder, log: RunLog) -> Iterator[None]:
    """Copies the results to the bucket when the run ends, however it ends.

    Raises:
        StorageError: The run itself ended well, but the bucket does not take its results.
    """
    replica = replica_of(folder)
    if replica is None:
        yield
        return
    try:
        yield
    except StorageError:
        # The upload was retried already, or another driver writes there now.
        raise
    except BaseException:
        try:
            replica.push_results()
        except StorageError as error:
            log.write(error.message)
        raise
    replica.push_results()
