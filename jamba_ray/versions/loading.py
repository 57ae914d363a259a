"""Loads a model from a run, a checkpoint or a registry: ``jamba_ray.load``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from jamba_ray import inference
from jamba_ray.config.names import DEFAULT_REGISTRY
from jamba_ray.errors import ConfigError
from jamba_ray.inference import Predictor
from jamba_ray.versions.content import EVIDENCE
from jamba_ray.versions.reference import is_reference, opened


def load(
    path: str | os.PathLike[str],
    device: str = "cpu",
    *,
    plugins: Sequence[str] = (),
    registry: str | os.PathLike[str] = DEFAULT_REGISTRY,
) -> Predictor:
    """Returns the predictor in a checkpoint folder, a run's ``best/``, a run folder (its
    ``best/``), or of a version in a registry (``threats@champion``, ``threats@3``), with the
    ``plugins`` that it needs imported first.

    A run or a registry in a bucket is given as an ``s3://`` or ``gs://`` URI (for a store at
    another address, set AWS_ENDPOINT_URL). Every byte is verified first, of a version its log and
    signatures too, and nothing in the files can run code.

    Raises:
        CheckpointError: A file is missing or damaged; the message names it.
        RegistryError: The registry was changed, or is not signed by who may.
        ConfigError: It needs a plug-in that is not given, or one that is cannot be imported.
        StorageError: The bucket refuses the request.
    """
    found = local_path(os.fspath(path), os.fspath(registry))
    return inference.load(found, device, plugins=plugins)


def refuse_version(run: str) -> None:
    """Refuses a reference where a model is to be changed; raises ConfigError."""
    if is_reference(run) and not Path(run).exists():
        raise ConfigError(
            [
                f"a version of a registry never changes, so {run!r} gets no threshold. Choose it "
                "for the run that the version was made from (`jamba-ray registry list` names it), "
                "and register the run again."
            ]
        )


def run_path(run: str, registry: str = DEFAULT_REGISTRY) -> str:
    """Returns the folder of a reference that says what its run found; anything else as it is."""
    folder = local_path(run, registry)
    return run if folder == run else str(Path(folder).parent / EVIDENCE)


def local_path(run: str, registry: str = DEFAULT_REGISTRY) -> str:
    """Returns the verified checkpoint folder of a reference; anything else as it is.

    A file or folder whose name looks like a reference is that folder.
    """
    if not is_reference(run) or Path(run).exists():
        return run
    return str(opened(run, registry).folder)
