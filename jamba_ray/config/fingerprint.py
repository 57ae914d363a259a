"""Computes the fingerprint of a configuration: equal for equal experiments, whatever the run is
called."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from jamba_ray.config.section import Section, absent_values, is_fingerprinted


def fingerprint(section: Section) -> str:
    """Computes SHA-256 (first 16 hex digits) of all fields that decide the result."""
    return fingerprint_json(fingerprinted(section))


def fingerprint_json(value: Any) -> str:
    """Computes SHA-256 (first 16 hex digits) of a JSON value in canonical form."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def fingerprinted(section: Section) -> dict[str, Any]:
    """Returns the fields of ``section`` that decide the result, as JSON values."""
    fields = type(section).model_fields
    dumped = section.model_dump(mode="json")
    absent = absent_values(type(section))
    return {
        name: fingerprinted(value)
        if isinstance(value := getattr(section, name), Section)
        else dumped[name]
        for name, field in fields.items()
        if is_fingerprinted(field) and not (name in absent and absent[name] == dumped[name])
    }
