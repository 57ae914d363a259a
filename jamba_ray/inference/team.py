"""Joins several models to one snapshot, a team, and takes it apart again.

A team is a checkpoint as any other: ``team.json`` has the weights, and each member's files have its
number in their names (``member-0.config.json``, ``member-0/...`` in the tensors). What all members
share (preprocessing, fingerprints) and the team's own metrics are named as in every checkpoint.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jamba_ray.checkpoints import Snapshot
from jamba_ray.errors import CheckpointError

TEAM = "team"
FORMAT = 1
MOST_MEMBERS = 64
_SHARED = ("preprocessing", "fingerprints")
_OF_TRAINING = ("state", "metrics", *_SHARED)
_MEMBER = re.compile(r"member-(\d{1,2})([./])(.+)", re.DOTALL)


@dataclass(frozen=True)
class Part:
    """Holds one member of a team."""

    trial: int
    weight: float
    """Its share of the team's log-odds; all shares add up to 1."""
    snapshot: Snapshot


def joined(
    parts: Sequence[Part], metrics: Mapping[str, Any], config: Mapping[str, Any]
) -> Snapshot:
    """Returns the team's snapshot.

    ``metrics`` are the team's on validation rows; ``config`` is that of the best single model,
    which tells the objective. The members must have been trained on the same prepared rows.
    """
    tensors: dict[str, Any] = {}
    documents: dict[str, Any] = {name: parts[0].snapshot.documents[name] for name in _SHARED}
    documents |= {"metrics": dict(metrics), "config": dict(config)}
    documents[TEAM] = {
        "format": FORMAT,
        "combined": "log_odds",
        "members": [{"trial": p.trial, "weight": p.weight} for p in parts],
    }
    blobs: dict[str, bytes] = {}
    for i, part in enumerate(parts):
        one = part.snapshot
        # What training needs to go on (``current/``, ``optimizer/``) is left out.
        tensors |= {
            f"member-{i}/{name}": array
            for name, array in one.tensors.items()
            if not name.startswith(("current/", "optimizer/"))
        }
        documents |= {
            f"member-{i}.{name}": value
            for name, value in one.documents.items()
            if name not in _OF_TRAINING
        }
        blobs |= {f"member-{i}.{name}": blob for name, blob in one.blobs.items()}
    return Snapshot(tensors=tensors, documents=documents, blobs=blobs)


def parts_of(snapshot: Snapshot) -> list[Part]:
    """Returns the members of a team; empty where the snapshot is a single model.

    Raises:
        CheckpointError: ``team.json`` is of another version, or its weights are no shares.
    """
    found = snapshot.documents.get(TEAM)
    if found is None:
        return []
    try:
        members = [(int(m["trial"]), float(m["weight"])) for m in found["members"]]
        sound = found["format"] == FORMAT and found["combined"] == "log_odds"
    except (KeyError, TypeError, ValueError, OverflowError):
        members, sound = [], False
    weights = [weight for _, weight in members]
    sound &= 0 < len(members) <= MOST_MEMBERS and all(w > 0.0 for w in weights)
    if not sound or not math.isclose(math.fsum(weights), 1.0, abs_tol=1e-9):
        raise CheckpointError(
            f"The checkpoint's `{TEAM}.json` must name members whose weights add up to 1, but does "
            "not. Load it with the version of jamba_ray that wrote it."
        )
    shared = {name: snapshot.documents.get(name) for name in _SHARED}
    return [
        Part(
            trial,
            weight,
            Snapshot(
                tensors=_own(snapshot.tensors, i),
                documents={**shared, **_own(snapshot.documents, i)},
                blobs=_own(snapshot.blobs, i),
            ),
        )
        for i, (trial, weight) in enumerate(members)
    ]


def weights_of(parts: Sequence[Part]) -> dict[int, float]:
    """Returns the weight of each trial; one that is a member with several models has their sum."""
    weights: dict[int, float] = {}
    for part in parts:
        weights[part.trial] = weights.get(part.trial, 0.0) + part.weight
    return weights


def _own(named: Mapping[str, Any], i: int) -> dict[str, Any]:
    matches = ((_MEMBER.fullmatch(name), value) for name, value in named.items())
    return {m[3]: value for m, value in matches if m is not None and int(m[1]) == i}
