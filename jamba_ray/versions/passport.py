"""Writes the passport of a version: what it is and what is known of it, as a CycloneDX ML-BOM.

The form is that of CycloneDX 1.6, which every tool for bills of materials reads.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, metadata
from typing import Any

import jamba_ray
from jamba_ray.checkpoints.manifest import record
from jamba_ray.inference.predictor import Predictor
from jamba_ray.versions.content import EVIDENCE, EXPORTS, MODEL

_MAX_NOTES = 200
_SPACE = uuid.UUID("6f0c5d1e-3a1b-4f0e-9a51-0e6a2f4b7c11")


def passport_of(
    name: str,
    number: int,
    created: str,
    predictor: Predictor,
    summary: Mapping[str, Any],
    files: Mapping[str, bytes],
    parity: Mapping[str, str],
    licence: str | None,
) -> bytes:
    """Returns the passport as JSON.

    Args:
        name: The model.
        number: The version.
        created: When, in UTC.
        predictor: The model itself.
        summary: ``summary.json`` of its run; empty: there is none.
        files: The files of the version, by name.
        parity: Format of an export -> what its proof found.
        licence: That of the model; None: none is stated.
    """
    tree = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(_SPACE, f'{name}@{number} {created}')}",
        "version": 1,
        "metadata": {
            "timestamp": created.replace("+00:00", "Z"),
            "tools": {
                "components": [
                    {
                        "type": "application",
                        "name": "jamba_ray",
                        "version": jamba_ray.__version__,
                    }
                ]
            },
            "component": {
                "type": "machine-learning-model",
                "bom-ref": "model",
                "name": name,
                "version": str(number),
                **_licences(licence),
                "hashes": _hash(files[f"{MODEL}/manifest.json"]),
                "modelCard": _card(predictor, summary),
                "properties": list(_properties(predictor, summary, parity)),
            },
        },
        "components": [_data(predictor, summary), *_exports(files, parity), *_libraries(summary)],
    }
    return (json.dumps(tree, indent=1, allow_nan=False) + "\n").encode()


def _card(predictor: Predictor, summary: Mapping[str, Any]) -> dict[str, Any]:
    best = summary.get("best") or {}
    notes = [str(one) for one in summary.get("notes") or []][:_MAX_NOTES]
    return {
        "modelParameters": {
            "approach": {"type": "supervised"},
            "task": "binary classification of threats in rows of a table",
            "architectureFamily": predictor.config.model.name,
            "modelArchitecture": f"team of {predictor.n_models}"
            if predictor.n_models > 1
            else predictor.config.model.name,
            "datasets": [{"ref": "data"}],
            "inputs": [{"format": f"column {one}"} for one in predictor.preprocessing.columns],
            "outputs": [{"format": "score: a number from 0 to 1"}],
        },
        "quantitativeAnalysis": {"performanceMetrics": list(_metrics(best, predictor))},
        **({"considerations": {"technicalLimitations": notes}} if notes else {}),
    }


def _metrics(best: Mapping[str, Any], predictor: Predictor) -> Iterator[dict[str, Any]]:
    """Yields each metric of the run with its interval; without a run those of the checkpoint."""
    parts = {"val": best.get("val"), "test": best.get("test"), **(best.get("extra_tests") or {})}
    told = False
    for part, metrics in parts.items():
        for metric, one in (metrics or {}).items():
            if not isinstance(one, Mapping) or not isinstance(one.get("value"), int | float):
                continue
            told = True
            found = {"type": metric, "value": repr(float(one["value"])), "slice": part}
            if isinstance(one.get("low"), int | float):
                found["confidenceInterval"] = {
                    "lowerBound": repr(float(one["low"])),
                    "upperBound": repr(float(one["high"])),
                }
            yield found
    if not told:
        for key, value in predictor.metrics.items():
            part, _, metric = key.partition("/")
            yield {"type": metric, "value": repr(value), "slice": part}


def _properties(
    predictor: Predictor, summary: Mapping[str, Any], parity: Mapping[str, str]
) -> Iterator[dict[str, str]]:
    for kind, digest in sorted(predictor.fingerprints.items()):
        yield _property(f"fingerprint:{kind}", digest)
    yield _property("objective", predictor.config.objective)
    cut, what = predictor.threshold_of(None)
    yield _property("threshold", f"{cut!r}, {what}")
    for name, one in sorted(predictor.thresholds.items()):
        yield _property(f"threshold:{name}", repr(float(one["threshold"])))
        promise = predictor.promise_of(name)
        if promise is not None:
            yield _property(f"threshold:{name}:promise", str(promise["sentence"]))
    if predictor.calibration is not None:
        yield _property("calibration", json.dumps(predictor.calibration.to_json(), sort_keys=True))
    for kind, words in sorted(parity.items()):
        yield _property(f"parity:{kind}", words)
    data = summary.get("data") or {}
    shift = data.get("shift")
    if isinstance(shift, Mapping):
        yield _property("shift", json.dumps(shift, sort_keys=True))
    for key in ("duplicates", "left_out", "unseen", "split"):
        if data.get(key) not in (None, {}, []):
            yield _property(f"data:{key}", json.dumps(data[key], sort_keys=True))
    for key in ("robustness", "expected"):
        value = summary.get(key) or (summary.get("best") or {}).get(key)
        if value is not None:
            yield _property(key, json.dumps(value, sort_keys=True))


def _data(predictor: Predictor, summary: Mapping[str, Any]) -> dict[str, Any]:
    print_of = predictor.fingerprints.get("data", "unknown")
    parts = (summary.get("data") or {}).get("parts")
    properties = [_property("fingerprint", print_of)]
    if parts:
        properties.append(_property("parts", json.dumps(parts, sort_keys=True)))
    return {
        "type": "data",
        "bom-ref": "data",
        "name": f"labelled rows {print_of}",
        "data": [{"type": "dataset", "name": f"labelled rows {print_of}"}],
        "properties": properties,
    }


def _exports(files: Mapping[str, bytes], parity: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    for name, raw in sorted(files.items()):
        if name.startswith((f"{EXPORTS}/", f"{EVIDENCE}/")):
            kind = name.rpartition(".")[2]
            words = parity.get(kind) if name.startswith(f"{EXPORTS}/") else None
            yield {
                "type": "file",
                "bom-ref": name,
                "name": name,
                "hashes": _hash(raw),
                **({"properties": [_property("parity", words)]} if words else {}),
            }


def _libraries(summary: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    versions = summary.get("versions")
    for package, version in sorted(dict(versions if isinstance(versions, dict) else {}).items()):
        if package in ("python", "jamba_ray"):
            continue
        yield {
            "type": "library",
            "bom-ref": f"pkg:pypi/{package}@{version}",
            "name": package,
            "version": str(version),
            "purl": f"pkg:pypi/{package}@{version}",
            **_licences(_licence_of(package)),
        }


def _licence_of(package: str) -> str | None:
    """Returns the licence that an installed package states in one line."""
    try:
        found: Any = metadata(package)
    except PackageNotFoundError:
        return None
    stated = found.get("License-Expression") or found.get("License")
    if stated and "\n" not in stated and len(stated) < 100:
        return str(stated)
    classes = [one for one in found.get_all("Classifier") or [] if one.startswith("License ::")]
    return classes[0].rpartition(" :: ")[2] if classes else None


def _licences(licence: str | None) -> dict[str, Any]:
    return {} if licence is None else {"licenses": [{"license": {"name": licence}}]}


def _hash(raw: bytes) -> list[dict[str, str]]:
    return [{"alg": "SHA-256", "content": record(raw).sha256}]


def _property(name: str, value: str) -> dict[str, str]:
    return {"name": f"jamba_ray:{name}", "value": value}
