"""Opens the model to watch, with the reference rows that its run kept."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from jamba_ray.checkpoints import RemoteFolder
from jamba_ray.config import plugin_modules
from jamba_ray.config.names import DEFAULT_REGISTRY
from jamba_ray.config.store_uri import StoreUri, parse_store
from jamba_ray.data.reference import MOST_BYTES, Reference
from jamba_ray.errors import ConfigError, NoRunError
from jamba_ray.evaluation.calibration import Calibration, Method, fitted
from jamba_ray.evaluation.two_samples import FEWEST_ROWS
from jamba_ray.evaluation.unlabelled import method_for
from jamba_ray.inference import Predictor, find_checkpoint
from jamba_ray.inference.predictor import read_model
from jamba_ray.versions.content import EVIDENCE
from jamba_ray.versions.loading import local_path
from jamba_ray.watching.column_changes import sizes_of

FILE = "reference.parquet"


@dataclass(frozen=True)
class WatchedModel:
    """Holds a predictor, its reference rows and its name."""

    predictor: Predictor
    reference: Reference
    name: str

    @cached_property
    def method(self) -> Method | None:
        """Returns how scores are made probabilities; None: the reference has too few rows of a
        class."""
        label = self.reference.label
        if min(int(label.sum()), int((~label).sum())) < FEWEST_ROWS:
            return None
        return method_for(label, self.reference.score, self.predictor.calibration)

    @cached_property
    def calibration(self) -> Calibration | None:
        """Returns the map to probabilities, fitted on the reference; None where there is none."""
        if self.method is None:
            return None
        return fitted(self.reference.label, self.reference.score, self.method)

    @cached_property
    def sizes(self) -> dict[str, float]:
        """Returns the typical size of each numeric column."""
        return sizes_of(self.predictor.preprocessing, self.reference)


def opened_model(
    model: str, plugins: Sequence[str] = (), registry: str = DEFAULT_REGISTRY
) -> WatchedModel:
    """Opens a run, its ``best/`` or any checkpoint folder, here or in a bucket, or a version of a
    registry.

    Raises:
        NoRunError: It has no reference rows.
        CheckpointError: It is damaged.
    """
    plugin_modules.load(plugins)
    name = _name(model)
    model = local_path(model, registry)
    predictor = read_model(model).predictor()
    raw, where = _reference(model)
    if raw is None:
        raise NoRunError(
            f"{model} must have the reference rows that a run keeps ({FILE}), but has none: it was "
            "made by an earlier version, or is a checkpoint alone. Train again, or copy the file "
            "beside the checkpoint."
        )
    reference = Reference.from_bytes(raw, where)
    if reference.schema.to_json() != predictor.preprocessing.schema.to_json():
        raise NoRunError(
            f"the reference rows of {model} must be those of its model, but have other columns or "
            f"bins; restore {where} from a copy of the run."
        )
    return WatchedModel(predictor, reference, name)


def _reference(model: str) -> tuple[bytes | None, str]:
    try:
        place = parse_store(model)
    except ValueError as error:
        raise ConfigError([f"`model`: {error}."]) from error
    if isinstance(place, StoreUri):
        remote = RemoteFolder(place)
        return remote.read(FILE, MOST_BYTES), f"{place}/{FILE}"
    folder = find_checkpoint(Path(place))
    for path in (folder / FILE, folder.parent / FILE, folder.parent / EVIDENCE / FILE):
        if path.is_file() and path.stat().st_size <= MOST_BYTES:
            return path.read_bytes(), str(path)
    return None, str(folder / FILE)


def _name(model: str) -> str:
    name = os.path.basename(model.rstrip("/")).partition("@")[0]
    if name == "best":
        name = os.path.basename(os.path.dirname(os.path.abspath(model.rstrip("/"))))
    return name or "model"
