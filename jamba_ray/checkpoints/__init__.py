"""Stores checkpoints without pickle: safetensors, strict JSON and, written last, a manifest."""

from jamba_ray.checkpoints.manifest import Kind, Manifest
from jamba_ray.checkpoints.remote_folder import RemoteFolder
from jamba_ray.checkpoints.remote_store import RemoteCheckpointStore, read_published
from jamba_ray.checkpoints.retention import Entry, deletable
from jamba_ray.checkpoints.retry import Failure, Patience, retry
from jamba_ray.checkpoints.snapshot import Snapshot, step_of
from jamba_ray.checkpoints.store import (
    CheckpointStore,
    Loaded,
    read_checkpoint,
    write_checkpoint,
)

__all__ = [
    "CheckpointStore",
    "Entry",
    "Failure",
    "Kind",
    "Loaded",
    "Manifest",
    "Patience",
    "RemoteCheckpointStore",
    "RemoteFolder",
    "Snapshot",
    "deletable",
    "read_checkpoint",
    "read_published",
    "retry",
    "step_of",
    "write_checkpoint",
]
