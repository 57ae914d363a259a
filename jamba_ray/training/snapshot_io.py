"""Converts a member's state to a ``Snapshot`` and back.

Every snapshot is both: ``model/...`` is the model to use (best weights so far), and the rest is
what training needs to go on exactly: weights and batch statistics in ``current/...``, moments in
``optimizer/...``, counters in the document ``state``. Data order, dropout masks and learning rate
are functions of (seed, position), so no generator state is needed.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor

import jamba_ray
from jamba_ray.checkpoints.snapshot import Snapshot
from jamba_ray.config.family import TRAINERS
from jamba_ray.config.fingerprint import fingerprint
from jamba_ray.data.prepared import PreparedData
from jamba_ray.errors import CheckpointError
from jamba_ray.models.saved_tensors import tensors_like
from jamba_ray.training.member import Member
from jamba_ray.training.optimizer import StackedAdamW
from jamba_ray.training.precision import LossScaler
from jamba_ray.training.progress import Progress
from jamba_ray.training.stack import Stack


def documents(
    member: Member,
    data: PreparedData,
    state: Mapping[str, Any],
    metrics: Mapping[str, float],
    threshold: float | None,
) -> dict[str, Any]:
    """Returns the JSON documents of any snapshot."""
    return {
        "state": {"trial": member.trial, **state},
        "config": member.config.model_dump(mode="json"),
        "preprocessing": data.preprocessing,
        # A threshold exists once all validation rows were scored; before that nothing chose one.
        "metrics": {**metrics, "threshold": threshold},
        "fingerprints": {
            "config": fingerprint(member.config),
            "data": data.fingerprint,
            "code": code_fingerprint(),
        },
    }


def take(
    stack: Stack,
    optimizer: StackedAdamW,
    scaler: LossScaler | None,
    k: int,
    progress: Progress,
) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any]]:
    """Returns member k's arrays and its ``state`` document; nothing in them changes afterwards."""
    current = stack.state(k)
    moments = {
        f"optimizer/{kind}/{name}": view
        for kind, rows in (("exp_avg", optimizer.exp_avg), ("exp_avg_sq", optimizer.exp_avg_sq))
        for name, view in stack.layout.views(rows[k].clone()).items()
    }
    tensors = {
        **{f"model/{name}": _array(t) for name, t in (progress.best or current).items()},
        **{f"current/{name}": _array(t) for name, t in current.items()},
        **{name: _array(t) for name, t in moments.items()},
    }
    state = {
        "kind": "gradient",
        **progress.to_json(),
        "optimizer": {"steps": int(optimizer.steps[k, 0])},
        "scaler": None if scaler is None else scaler.state(k),
    }
    return tensors, state


def put(
    snapshot: Snapshot,
    stack: Stack,
    optimizer: StackedAdamW,
    scaler: LossScaler | None,
    k: int,
) -> Progress:
    """Loads what ``take`` returned.

    Raises:
        CheckpointError: An array is missing, or has another type or shape than the model's.
    """
    state = snapshot.documents["state"]
    try:
        expected = stack.state(k)
        current, best = (
            tensors_like(expected, snapshot.tensors, prefix) for prefix in ("current/", "model/")
        )
        stack.load(k, current)
        for kind, rows in (("exp_avg", optimizer.exp_avg), ("exp_avg_sq", optimizer.exp_avg_sq)):
            views = stack.layout.views(rows[k])
            saved = tensors_like(views, snapshot.tensors, f"optimizer/{kind}/")
            for name, view in views.items():
                view.copy_(saved[name])
        optimizer.steps[k, 0] = float(state["optimizer"]["steps"])
        if scaler is not None and state["scaler"] is not None:
            scaler.load(k, state["scaler"])
        progress = Progress.from_json(state)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"The checkpoint of trial {state.get('trial')} must fit the model that is configured, "
            f"but does not ({error}); resume it with the configuration that wrote it."
        ) from error
    progress.best = best
    return progress


def differences(snapshot: Snapshot, member: Member, data: PreparedData) -> list[str]:
    """Lists what a checkpoint has of another experiment than the member's: of 'config', 'data' and
    'trainer'.

    Empty: the member can continue from it.
    """
    written = snapshot.documents.get("fingerprints", {})
    now = {"config": fingerprint(member.config), "data": data.fingerprint}
    differs = [name for name, value in now.items() if written.get(name) != value]
    if snapshot.documents.get("state", {}).get("kind") != TRAINERS[member.config.model.name]:
        differs.append("trainer")
    return differs


def check_belongs(snapshot: Snapshot, member: Member, data: PreparedData) -> None:
    """Refuses to resume from what another configuration, data or trainer wrote.

    Raises:
        CheckpointError: With what differs.
    """
    if differs := differences(snapshot, member, data):
        raise CheckpointError(
            f"Trial {member.trial} must resume from a checkpoint of the same configuration and "
            f"data, but the {' and the '.join(differs)} changed; start it anew instead."
        )


@functools.cache
def code_fingerprint() -> str:
    """Returns the version, and 16 hex digits of SHA-256 over the sources that decide a result."""
    package = Path(jamba_ray.__file__).parent
    digest = hashlib.sha256(torch.__version__.encode())
    for room in ("data", "estimators", "evaluation", "models", "training"):
        for path in sorted((package / room).rglob("*.py")):
            digest.update(path.read_bytes())
    return f"{jamba_ray.__version__}+{digest.hexdigest()[:16]}"


def _array(tensor: Tensor) -> npt.NDArray[Any]:
    """Returns a tensor's memory as an array; tensors come as copies already, so sharing is safe."""
    array: npt.NDArray[Any] = tensor.detach().cpu().numpy()
    return array


def to_use(snapshot: Snapshot) -> Snapshot:
    """Returns a model without what only its further training needs."""
    of_training = ("current/", "optimizer/")
    tensors = {k: v for k, v in snapshot.tensors.items() if not k.startswith(of_training)}
    blobs = {k: v for k, v in snapshot.blobs.items() if not k.startswith("current.")}
    return Snapshot(tensors, snapshot.documents, blobs)
