"""Converts a network's checkpoint to the dictionary of a ``.pt`` file and back.

The dictionary: ``epoch``, ``model_state``, ``optimizer_state``, ``scheduler_state``, ``config`` and
``metrics``. ``config`` holds the names of the model's parameters and, under ``jamba_ray``, what a
``.pt`` file of others lacks: preprocessing, thresholds and calibration, as JSON.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError
from torch import Tensor

import jamba_ray
from jamba_ray.checkpoints import Snapshot
from jamba_ray.config.family import FAMILIES
from jamba_ray.config.fingerprint import fingerprint
from jamba_ray.config.run import TrialConfig
from jamba_ray.data.prepared import FeatureSchema, PreparedData
from jamba_ray.errors import ConfigError
from jamba_ray.exports.pt_file import finite
from jamba_ray.inference.predictor import SavedModel
from jamba_ray.inference.scorer import config_of, preprocessing_of
from jamba_ray.inference.team import parts_of

FORMAT = 1
KEYS = ("epoch", "model_state", "optimizer_state", "scheduler_state", "config", "metrics")
_OWN = "jamba_ray"
_MOMENTS = ("exp_avg", "exp_avg_sq")
_STRUCTURE = ("hidden_dim", "output_dim", "n_heads", "feature_layers", "dropout_rate")


def dictionary(saved: SavedModel) -> dict[str, Any]:
    """Returns the dictionary of a network.

    Raises:
        ConfigError: The model is no network.
    """
    snapshot = saved.snapshot
    config = config_of(snapshot)
    weights = _prefixed(snapshot, "model/")
    if parts_of(snapshot) or not weights:
        what = "a team of several models" if parts_of(snapshot) else f"{config.model.name!r}"
        raise ConfigError(
            [
                f"`format=pt` holds the weights of one network, but the model is {what}. Choose "
                "`format=onnx`, or a trial of a network."
            ]
        )
    state = snapshot.documents["state"]
    model, training = config.model.model_dump(), config.training
    own = {
        "format": FORMAT,
        "trial": config.model_dump(mode="json"),
        "documents": {n: snapshot.documents[n] for n in ("preprocessing", "fingerprints")},
        "state": {"step": state["step"], "kind": state["kind"], "trial": state.get("trial", 0)},
        "thresholds": {name: dict(one) for name, one in saved.thresholds.items()},
        "calibration": None if saved.calibration is None else dict(saved.calibration),
    }
    return {
        "epoch": state["step"],
        "model_state": weights,
        "optimizer_state": {
            "state": {
                "step": state.get("optimizer", {}).get("steps", 0),
                **{m: _prefixed(snapshot, f"optimizer/{m}/") for m in _MOMENTS},
            },
            "param_groups": [{"lr": training.learning_rate, "weight_decay": training.weight_decay}],
        },
        "scheduler_state": {
            "schedule": training.schedule,
            "warmup": training.warmup,
            "batches": state.get("batches", 0),
        },
        "config": {
            "version": jamba_ray.__version__,
            "family": config.model.name,
            "input_dim": preprocessing_of(snapshot).schema.input_dim,
            **{name: model.get(name) for name in _STRUCTURE},
            "batch_size": training.batch_size,
            "learning_rate": training.learning_rate,
            "epochs": training.epochs,
            _OWN: own,
        },
        "metrics": dict(snapshot.documents["metrics"]),
    }


def _prefixed(snapshot: Snapshot, prefix: str) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): torch.tensor(array)
        for name, array in snapshot.tensors.items()
        if name.startswith(prefix)
    }


def own_of(found: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Returns what jamba_ray wrote into ``config``; None: the file is of others."""
    config = found.get("config")
    own = config.get(_OWN) if isinstance(config, Mapping) else None
    return own if isinstance(own, Mapping) else None


def saved_model(found: Mapping[str, Any]) -> SavedModel:
    """Returns the model of a file that ``dictionary`` made.

    Raises:
        ValueError: It is not such a file.
    """
    own = own_of(found)
    if own is None or own.get("format") != FORMAT:
        raise ValueError("it is not of `jamba-ray export`, or of a later version")
    try:
        documents = {
            **{name: finite(own["documents"][name]) for name in ("preprocessing", "fingerprints")},
            "config": finite(own["trial"]),
            "state": dict(own["state"]),
            "metrics": finite(dict(found["metrics"])),
        }
        thresholds = {str(n): dict(one) for n, one in own["thresholds"].items()}
        calibration = own["calibration"]
        return SavedModel(Snapshot(_arrays(found), documents), thresholds, calibration)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"it lacks {error}") from error


def foreign_trial(found: Mapping[str, Any], schema: FeatureSchema) -> TrialConfig:
    """Returns the configuration that the ``config`` of a file of others asks for.

    Raises:
        ValueError: A name is missing, or the model is none of this package.
    """
    config = found.get("config")
    if not isinstance(config, Mapping):
        raise ValueError(
            f"it must hold {', '.join(f'`{key}`' for key in KEYS)}, but lacks `config`"
        )
    family = config.get("family") or ("mlp" if config.get("n_heads") is None else "attention")
    section = FAMILIES.get(str(family))
    if section is None:
        raise ValueError(f"its family {family!r} is not known")
    if (n := config.get("input_dim")) not in (None, schema.input_dim):
        raise ValueError(f"its `input_dim` is {n}, but the data has {schema.input_dim} features")
    known = {k: config[k] for k in section.model_fields if k != "name" and k in config}
    training = {k: config[k] for k in ("batch_size", "learning_rate", "epochs") if k in config}
    try:
        return TrialConfig.model_validate(
            {"model": {"name": family, **known}, "training": training}
        )
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"its `config` does not suit: {first['msg']}") from error


def foreign_snapshot(
    found: Mapping[str, Any], config: TrialConfig, data: PreparedData, metrics: Mapping[str, Any]
) -> Snapshot:
    """Returns the snapshot of a file of others, with the preprocessing of ``data``."""
    return Snapshot(
        _arrays(found),
        {
            "config": config.model_dump(mode="json"),
            "preprocessing": data.preprocessing,
            "state": {"step": _epoch(found), "kind": "gradient", "trial": 0},
            "metrics": dict(metrics),
            "fingerprints": {
                "config": fingerprint(config),
                "data": data.fingerprint,
                "code": f"imported by {jamba_ray.__version__}",
            },
        },
    )


def _epoch(found: Mapping[str, Any]) -> int:
    epoch = found.get("epoch")
    return epoch if isinstance(epoch, int) and epoch >= 0 else 0


def _arrays(found: Mapping[str, Any]) -> dict[str, Any]:
    state = found.get("model_state")
    if not isinstance(state, Mapping) or not state:
        raise ValueError("it must hold `model_state`, a dictionary of tensors, but does not")
    arrays = {}
    for name, tensor in state.items():
        if not isinstance(tensor, Tensor):
            raise ValueError(f"`model_state.{name}` must be a tensor, but is none")
        array = tensor.float().numpy() if tensor.dtype == torch.bfloat16 else tensor.numpy()
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise ValueError(f"`model_state.{name}` must be finite, but is not")
        arrays[f"model/{name}"] = array
    return arrays
