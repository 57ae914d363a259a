"""Describes the data for people, as strict JSON: rows, columns and gaps of each part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jamba_ray.data.duplicates import Duplicates
from jamba_ray.data.matrices import Matrices
from jamba_ray.data.parts import Source
from jamba_ray.data.preprocessing import Preprocessor
from jamba_ray.data.times import span


def overview(
    parts: Mapping[str, Source],
    made: Mapping[str, Matrices],
    preprocessor: Preprocessor,
    special: Mapping[str, str],
    notes: Sequence[str],
    duplicates: Duplicates,
) -> dict[str, Any]:
    """Describes the data of a run: ``data`` of ``summary.json``, shown by the dry run and the
    report.

    ``special``: columns that are no features -> why; ``notes``: sentences on columns, which say
    why one was left out.
    """
    used = set(preprocessor.columns)
    numbers = {c.name for c in preprocessor.numeric}
    numbers |= {c.name for c in preprocessor.categorical if c.tells_missing}
    train = parts["train"]
    left_out = dict(special)
    for name in train.table.columns:
        if name not in used and name not in special:
            left_out[name] = _why(name, notes)
    gaps = sorted({name for part in made.values() for name in part.missing})
    shares = {
        name: {
            key: part.missing.get(name, 0) / max(1, len(parts[key])) for key, part in made.items()
        }
        for name in gaps
    }
    return {
        "parts": {name: _part(name, part, duplicates) for name, part in parts.items()},
        "columns": {
            "numeric": [name for name in preprocessor.columns if name in numbers],
            "categorical": [name for name in preprocessor.columns if name not in numbers],
        },
        "left_out": {**left_out, **train.left_out},
        "missing": dict(sorted(shares.items(), key=lambda one: (-one[1]["train"], one[0]))),
        "duplicates": {
            "repeated": duplicates.repeated,
            "both_labels": duplicates.both_labels,
        },
    }


def _part(name: str, part: Source, duplicates: Duplicates) -> dict[str, Any]:
    threats = int(part.y.sum())
    times = span(part.time) if part.times is not None else None
    return {
        "rows": len(part),
        "threats": threats,
        "prevalence": threats / max(1, len(part)),
        "from": times[0] if times else None,
        "to": times[1] if times else None,
        "also_in_train": duplicates.in_train.get(name),
    }


def _why(name: str, notes: Sequence[str]) -> str:
    """Returns what the last sentence on the column says after its name: that it is left out."""
    start = f"Column {name!r} "
    said = next((n.removeprefix(start) for n in reversed(notes) if n.startswith(start)), "")
    return said.removesuffix(".").removesuffix(" and is left out") or "not usable"
