"""Writes where a version comes from: an in-toto statement with SLSA's provenance."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from typing import Any

import jamba_ray
from jamba_ray.checkpoints.manifest import record
from jamba_ray.inference.predictor import Predictor
from jamba_ray.versions.source import Source

STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "https://github.com/jamba-ray/jamba-ray/blob/main/docs/how-to/registry.md#provenance"


def provenance_of(
    name: str,
    number: int,
    created: str,
    source: Source,
    predictor: Predictor,
    files: Mapping[str, bytes],
) -> bytes:
    """Returns the statement about the files of a version, as JSON."""
    prints = predictor.fingerprints
    statement = {
        "_type": STATEMENT,
        "subject": [
            {"name": one, "digest": {"sha256": record(data).sha256}}
            for one, data in sorted(files.items())
        ],
        "predicateType": PREDICATE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {
                    "config": predictor.config.model_dump(mode="json"),
                    "command": source.summary.get("command"),
                    "run": source.run,
                },
                "internalParameters": {"config_fingerprint": prints.get("config")},
                "resolvedDependencies": _dependencies(prints, source.summary),
            },
            "runDetails": {
                "builder": {
                    "id": f"https://github.com/jamba-ray/jamba-ray@{jamba_ray.__version__}",
                    "version": {"python": platform.python_version()},
                },
                "metadata": {
                    "invocationId": f"{name}@{number}",
                    "finishedOn": created.replace("+00:00", "Z"),
                },
            },
        },
    }
    return (json.dumps(statement, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()


def _dependencies(prints: Mapping[str, str], summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    # Of data and code there are fingerprints, which are no whole SHA-256.
    found: list[dict[str, Any]] = [
        {"name": one, "annotations": {"fingerprint": prints[one]}}
        for one in ("data", "code")
        if one in prints
    ]
    versions = summary.get("versions")
    for package, version in sorted(dict(versions if isinstance(versions, dict) else {}).items()):
        found.append({"name": package, "annotations": {"version": str(version)}})
    return found
