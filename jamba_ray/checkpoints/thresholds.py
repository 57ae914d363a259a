"""Saves named thresholds and the calibration of a model beside its checkpoint.

The file, ``thresholds.json``, is bound to the checkpoint's manifest by a digest; the checkpoint
itself never changes. A copy of the folder copies the file too; beside another checkpoint it is
refused.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jamba_ray.checkpoints.folder import OpenFolder
from jamba_ray.checkpoints.manifest import MANIFEST, MAX_MANIFEST_BYTES
from jamba_ray.checkpoints.remote_folder import RemoteFolder
from jamba_ray.config.names import nearest
from jamba_ray.errors import CheckpointError, ConfigError, NoRunError

FILE = "thresholds.json"
_MAX_BYTES = 1_000_000


def digest_of(manifest: bytes) -> str:
    """Returns the digest that binds thresholds to a checkpoint."""
    return hashlib.sha256(manifest).hexdigest()


def read_thresholds(raw: bytes | None, digest: str, where: str) -> dict[str, dict[str, Any]]:
    """Returns name -> what was saved, at least ``threshold``; empty where ``raw`` is None.

    Raises:
        CheckpointError: It is damaged, or belongs to another checkpoint.
    """
    if raw is None:
        return {}
    try:
        value = json.loads(raw)
        found = {str(name): dict(one) for name, one in value["thresholds"].items()}
        cuts = [one["threshold"] for one in found.values()]
        sound = value["format"] == 1 and all(
            isinstance(cut, int | float) and math.isfinite(cut) for cut in cuts
        )
        belongs = value["checkpoint"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        sound, belongs, found = False, "", {}
    if not sound:
        raise CheckpointError(
            f"{where}/{FILE} must hold named thresholds, but is damaged or of another version; "
            "delete it and choose them again with jamba_ray.threshold."
        )
    if belongs != digest:
        raise CheckpointError(
            f"{where}/{FILE} must belong to the checkpoint beside it, but was chosen for another; "
            "delete it and choose thresholds again with jamba_ray.threshold."
        )
    return found


def read_calibration(raw: bytes | None) -> dict[str, Any] | None:
    """Returns the calibration in a file that ``read_thresholds`` accepted; None: it has none."""
    found = json.loads(raw or b"{}").get("calibration")
    return dict(found) if isinstance(found, dict) else None


def with_threshold(
    saved: Mapping[str, Mapping[str, Any]],
    name: str,
    one: Mapping[str, Any],
    digest: str,
    calibration: Mapping[str, Any],
) -> bytes:
    """Returns the file's content with one threshold added or replaced, and its calibration."""
    tree = {
        "format": 1,
        "checkpoint": digest,
        "thresholds": {**saved, name: dict(one)},
        "calibration": dict(calibration),
    }
    return (json.dumps(tree, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()


def beside(folder: Path) -> tuple[bytes | None, str]:
    """Returns (content of the file beside a checkpoint or None, the checkpoint's digest)."""
    with OpenFolder(folder) as opened:
        digest = digest_of(opened.read(MANIFEST, MAX_MANIFEST_BYTES))
        raw = opened.read(FILE, _MAX_BYTES) if os.path.lexists(folder / FILE) else None
    return raw, digest


def beside_remote(folder: RemoteFolder) -> tuple[bytes | None, str, str]:
    """Returns the same as ``beside`` for a run or its ``best/`` in a bucket, and the prefix."""
    for prefix in ("", "best/"):
        manifest = folder.read(f"{prefix}{MANIFEST}", MAX_MANIFEST_BYTES)
        if manifest is not None:
            raw = folder.read(f"{prefix}{FILE}", _MAX_BYTES)
            return raw, digest_of(manifest), prefix
    raise NoRunError(
        f"{folder.uri} must be a run with a `best/`, but holds none. Give the run of a finished "
        "sweep, such as 's3://bucket/sweeps/<run>'."
    )


def promise_of(one: Mapping[str, Any]) -> dict[str, Any] | None:
    """Returns what was promised of a saved threshold; None where nothing was."""
    found = one.get("promise")
    return found if isinstance(found, dict) and isinstance(found.get("sentence"), str) else None


def chosen(
    saved: Mapping[str, Mapping[str, Any]], wanted: str | None, fallback: float
) -> tuple[float, str]:
    """Returns (the threshold, its name for messages) that ``wanted`` means.

    ``wanted`` is a saved name or a number; None: the saved ``default``, else ``fallback``.

    Raises:
        ConfigError: There is no threshold of this name.
    """
    name = "default" if wanted is None else wanted
    if name in saved:
        return float(saved[name]["threshold"]), f"the saved threshold {name!r}"
    if wanted is None:
        return fallback, "the threshold with the best F1 on validation rows"
    try:
        number = float(wanted)
    except ValueError:
        number = math.nan
    if 0.0 <= number <= 1.0:
        return number, "the threshold given"
    listed = ", ".join(map(repr, saved)) or "none yet"
    raise ConfigError(
        [
            f"`threshold` must be a saved name ({listed}) or a number from 0 to 1, but is "
            f"{wanted!r}{nearest(wanted, saved) or '. Save one with `jamba-ray threshold`.'}"
        ]
    )
