"""A run folder where its store is a bucket: taken up before, copied there at the end."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from jamba_ray.config.run import ExperimentConfig
from jamba_ray.errors import StorageError
from jamba_ray.runs.bucket_replica import replica_of
from jamba_ray.runs.run_contents import why_no_run_in_bucket
from jamba_ray.runs.run_folder import RunFolder, not_replaceable, used_name
from jamba_ray.runs.run_log import RunLog
from jamba_ray.study.lease import check_free


def folder_of(config: ExperimentConfig) -> RunFolder:
    """The run folder of a sweep or training whose ``run`` is settled."""
    return RunFolder.of(config.store, str(config.run), config.store_endpoint)


def refuse_if_used(folder: RunFolder, config: ExperimentConfig) -> None:
    """Raise ``RunExistsError`` if the name is used, here or in the bucket, or if a driver writes
    the run, or if ``overwrite`` would delete what is not wholly a run; writes nothing."""
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
    """Make the folder and, to continue a run of another machine, fetch its study. Returns what was
    fetched, as a sentence.

    Raises:
        RunExistsError: See ``refuse_if_used``.
        StorageError: The folder cannot be written, or the bucket does not answer.
    """
    replica = replica_of(folder)
    refuse_if_used(folder, config)  # reading the data took time
    folder.create(resume=config.resume, overwrite=config.overwrite)
    replaced = config.overwrite and not config.resume
    # Second: a study here without its checkpoints there would go on from less than it has.
    if replica is not None and (replaced or replica.is_being_deleted()):
        replica.delete()
    return replica.fetch() if replica is not None and config.resume else None


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
    except StorageError:
        # It was waited for, or another driver writes there now.
        raise
    except BaseException:
        try:
            replica.push_results()
        except StorageError as error:
            log.write(error.message)
        raise
    replica.push_results()
