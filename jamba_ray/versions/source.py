"""Reads what becomes a version: a run's checkpoint with its thresholds, and what judged it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jamba_ray.checkpoints import RemoteFolder
from jamba_ray.checkpoints.remote_store import published_files
from jamba_ray.checkpoints.store import checkpoint_files
from jamba_ray.checkpoints.thresholds import FILE, beside, beside_remote, read_thresholds
from jamba_ray.config.store_uri import StoreUri, parse_store
from jamba_ray.errors import ConfigError
from jamba_ray.inference import find_checkpoint
from jamba_ray.versions.content import EVIDENCE, MODEL, SCORES, SUMMARY

_KEPT = (SUMMARY, SCORES, "reference.parquet", "config.yaml")
_MAX_BYTES = 1 << 32


@dataclass(frozen=True)
class Source:
    """Holds the files that a version takes from a run."""

    run: str
    files: dict[str, bytes]
    """Name in the version -> content."""
    summary: dict[str, Any]
    """``summary.json`` of the run; empty: it has none."""


def read_source(run: str) -> Source:
    """Reads and verifies the checkpoint of a run, in a folder or a bucket.

    Raises:
        NoRunError: There is none.
        CheckpointError: It is damaged, or its thresholds are another checkpoint's.
    """
    try:
        place = parse_store(run)
    except ValueError as error:
        raise ConfigError([f"{str(error).replace('`store`', '`run`')}."]) from None
    if isinstance(place, StoreUri):
        remote = RemoteFolder(place)
        model, prefix = published_files(remote)
        raw, digest, _ = beside_remote(remote)
        where = f"{place}/{prefix}".rstrip("/")
        kept = {name: remote.read(name, _MAX_BYTES) for name in _KEPT} if prefix else {}
    else:
        folder = find_checkpoint(Path(place))
        model = checkpoint_files(folder)
        raw, digest = beside(folder)
        where = str(folder)
        home = folder.resolve().parent
        kept = {n: (home / n).read_bytes() if (home / n).is_file() else None for n in _KEPT}
    read_thresholds(raw, digest, where)
    files = {f"{MODEL}/{name}": data for name, data in model.items()}
    if raw is not None:
        files[f"{MODEL}/{FILE}"] = raw
    files |= {f"{EVIDENCE}/{name}": data for name, data in kept.items() if data is not None}
    return Source(run, files, _object(kept.get(SUMMARY)))


def _object(raw: bytes | None) -> dict[str, Any]:
    try:
        found = json.loads(raw or b"{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
