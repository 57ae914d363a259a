"""Defines the content of a checkpoint in memory: arrays, JSON documents and bytes, no code."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Snapshot:
    """Holds the content of one checkpoint; ``load`` returns what was saved, bit for bit."""

    tensors: dict[str, npt.NDArray[Any]] = field(default_factory=dict)
    """Arrays by name ('model/<parameter>', 'optimizer/<name>' ...); any name in Unicode. Their
    types: bool, (u)int8-64, float16-64."""
    documents: dict[str, Any] = field(default_factory=dict)
    """Strict JSON values (no NaN, no infinity) by file stem: 'config', 'preprocessing', 'metrics',
    'state', 'fingerprints' ..."""
    blobs: dict[str, bytes] = field(default_factory=dict)
    """Raw bytes by file name, such as 'model.txt' for LightGBM's trees."""

    @property
    def nbytes(self) -> int:
        """Returns the bytes of all arrays and blobs, most of what ``save`` writes."""
        arrays = sum(np.asarray(a).nbytes for a in self.tensors.values())
        return arrays + sum(len(b) for b in self.blobs.values())


def step_of(snapshot: Snapshot | None) -> int:
    """Returns the report at which a trial's snapshot was taken; 0 where there is none."""
    return 0 if snapshot is None else int(snapshot.documents["state"]["step"])
