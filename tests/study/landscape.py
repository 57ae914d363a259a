"""The landscape of a real search, as tables: what small networks scored in ten real sweeps.

1,664 trials of ``many_small_mlp`` and ``long_small_mlp`` (``tests/benchmarks/workloads.py``,
2026-11-26) were fitted by extremely randomised trees; this is what those say on a grid, with noise
as large and as lasting as what they left over. It has what invented landscapes lacked: the best
dropout lies at the border, the first rung favours learning rates that are too low in the end, and
luck counts for as much as the last two thirds of a search.
"""

from __future__ import annotations

import math
import zlib

import numpy as np
import numpy.typing as npt

from jamba_ray.config.space import Params
from tests.study.simulated import N_REPORTS

TREE = {
    "training": {
        "rate": {"type": "float", "low": 3e-4, "high": 2e-2, "log": True},
        "dropout": {"type": "float", "low": 0.0, "high": 0.4},
        "decay": {"type": "float", "low": 1e-6, "high": 1e-1, "log": True},
    }
}
_RATES = (-3.5, -3.2, -2.9, -2.6, -2.4, -2.2, -2.0, -1.7)
"""log10 of the learning rate, by row."""
_DROPOUT = (0.0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4)
"""By column. Weight decay made no difference."""
_SCORES = {
    1: (
        (0.612, 0.618, 0.617, 0.608, 0.599, 0.591, 0.592),
        (0.612, 0.621, 0.619, 0.610, 0.603, 0.593, 0.593),
        (0.626, 0.633, 0.621, 0.608, 0.610, 0.596, 0.595),
        (0.643, 0.640, 0.629, 0.611, 0.602, 0.597, 0.592),
        (0.643, 0.640, 0.631, 0.608, 0.600, 0.596, 0.591),
        (0.616, 0.626, 0.617, 0.606, 0.596, 0.594, 0.591),
        (0.622, 0.619, 0.624, 0.605, 0.588, 0.591, 0.590),
        (0.591, 0.585, 0.591, 0.597, 0.590, 0.591, 0.589),
    ),
    3: (
        (0.738, 0.736, 0.724, 0.719, 0.656, 0.647, 0.634),
        (0.776, 0.782, 0.768, 0.740, 0.689, 0.655, 0.635),
        (0.785, 0.792, 0.782, 0.767, 0.747, 0.678, 0.635),
        (0.789, 0.787, 0.783, 0.772, 0.742, 0.692, 0.666),
        (0.772, 0.769, 0.767, 0.744, 0.731, 0.690, 0.665),
        (0.760, 0.762, 0.742, 0.737, 0.714, 0.656, 0.638),
        (0.731, 0.728, 0.728, 0.702, 0.643, 0.617, 0.622),
        (0.624, 0.622, 0.629, 0.648, 0.653, 0.631, 0.633),
    ),
    9: (
        (0.840, 0.839, 0.836, 0.832, 0.827, 0.812, 0.800),
        (0.850, 0.849, 0.846, 0.842, 0.838, 0.821, 0.807),
        (0.871, 0.865, 0.860, 0.852, 0.841, 0.824, 0.809),
        (0.882, 0.882, 0.873, 0.865, 0.847, 0.831, 0.815),
        (0.881, 0.877, 0.873, 0.865, 0.844, 0.831, 0.818),
        (0.880, 0.874, 0.868, 0.854, 0.839, 0.829, 0.818),
        (0.870, 0.865, 0.858, 0.849, 0.839, 0.829, 0.818),
        (0.857, 0.854, 0.851, 0.845, 0.836, 0.827, 0.815),
    ),
    16: (
        (0.860, 0.860, 0.858, 0.856, 0.841, 0.831, 0.822),
        (0.866, 0.866, 0.866, 0.863, 0.849, 0.839, 0.829),
        (0.900, 0.896, 0.887, 0.880, 0.858, 0.845, 0.828),
        (0.915, 0.913, 0.906, 0.896, 0.875, 0.858, 0.839),
        (0.915, 0.914, 0.906, 0.898, 0.878, 0.860, 0.841),
        (0.914, 0.913, 0.908, 0.896, 0.879, 0.861, 0.842),
        (0.912, 0.913, 0.908, 0.896, 0.880, 0.861, 0.843),
        (0.908, 0.908, 0.904, 0.892, 0.877, 0.858, 0.839),
    ),
}
"""By report: those of the rungs, the first and the last."""
_SPREAD = (0.025, 0.028, 0.022, *(0.0108,) * 4, *(0.009,) * 3, *(0.0075,) * 3, *(0.0065,) * 3)
"""Standard deviation of the noise by report."""
_LASTING = (0.0, 0.3, 0.3, 0.3, 0.5, 0.6, 0.6, 0.7, 0.8, 0.8, 0.85, 0.9, 0.95, 1.0, 1.0, 1.0)
"""Its correlation with that of the report before."""


def worth(params: Params) -> list[float]:
    """Validation scores at all reports, without luck."""
    rate, dropout = math.log10(float(params["training.rate"])), float(params["training.dropout"])
    known = []
    for table in _SCORES.values():
        by_rate = [float(np.interp(dropout, _DROPOUT, row)) for row in table]
        known.append(float(np.interp(rate, _RATES, by_rate)))
    reports = np.arange(1, N_REPORTS + 1)
    return [float(score) for score in np.interp(reports, list(_SCORES), known)]


def curve(params: Params, seed: int) -> list[float]:
    """Validation scores at all reports of one trial."""
    luck = _noise(zlib.crc32(repr(sorted(params.items())).encode()), seed)
    return [score + float(bit) for score, bit in zip(worth(params), luck, strict=True)]


def _noise(params: int, seed: int) -> npt.NDArray[np.float64]:
    drawn = np.random.default_rng([params, seed]).standard_normal(N_REPORTS)
    for i, lasting in enumerate(_LASTING[1:], start=1):
        drawn[i] = lasting * drawn[i - 1] + math.sqrt(1.0 - lasting**2) * drawn[i]
    return drawn * np.array(_SPREAD)
