"""Checkpoints without pickle: safetensors, strict JSON and a SHA-256 manifest."""

from jamba_ray.checkpoints.snapshot import Snapshot

__all__ = ["Snapshot"]
