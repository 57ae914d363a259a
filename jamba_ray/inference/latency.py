"""Measures what a model costs: milliseconds for one row alone, and megabytes of weights."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

from jamba_ray.checkpoints import Snapshot
from jamba_ray.data.prepared import Rows
from jamba_ray.inference.predictor import Predictor

_BATCHES = 7
"""Batches of calls, of which the median counts: a pause of the machine is in one of them."""
_CALLS = 10


def costs(snapshot: Snapshot, rows: Rows) -> dict[str, float]:
    """Returns ``latency_ms`` and ``model_size_mb`` of a model, measured in this process."""
    predictor = Predictor(snapshot)
    numbers, codes = rows.x_num[:1], rows.x_cat[:1]
    return {
        "latency_ms": latency_ms(lambda: predictor.score_matrices(numbers, codes)),
        "model_size_mb": size_mb(snapshot),
    }


def latency_ms(call: Callable[[], object]) -> float:
    """Returns the milliseconds of a call: the median of repeated batches of them."""
    call()  # the first one builds what later ones use again
    times = []
    for _ in range(_BATCHES):
        begun = time.perf_counter()
        for _ in range(_CALLS):
            call()
        times.append(1000.0 * (time.perf_counter() - begun) / _CALLS)
    return statistics.median(times)


def size_mb(snapshot: Snapshot) -> float:
    """Returns the megabytes of a model's weights, without what only training needs."""
    weights = [a for name, a in snapshot.tensors.items() if name.startswith("model/")]
    held = sum(a.nbytes for a in weights) or sum(a.nbytes for a in snapshot.tensors.values())
    return (held + sum(len(b) for b in snapshot.blobs.values())) / 1e6
