"""Small schemas and rows that fit them."""

from __future__ import annotations

import numpy as np
import torch

from jamba_ray.data.prepared import FeatureSchema


def schema_of(n_numeric: int = 5, cardinalities: tuple[int, ...] = (3, 7)) -> FeatureSchema:
    """Columns with unequally many bins, as real tables have."""
    edges = tuple(tuple(np.linspace(-2.0, 2.0, 2 + 3 * (i % 3)).tolist()) for i in range(n_numeric))
    return FeatureSchema(
        numeric=tuple(f"n{i}" for i in range(n_numeric)),
        categorical=tuple(f"c{i}" for i in range(len(cardinalities))),
        cardinalities=cardinalities,
        bin_edges=edges,
    )


def rows_of(
    schema: FeatureSchema, n: int = 32, seed: int = 0
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(x_num, x_cat, y) that fit ``schema``."""
    rng = np.random.default_rng(seed)
    x_num = rng.normal(size=(n, len(schema.numeric))).astype(np.float32)
    x_cat = rng.integers(
        0, np.array(schema.cardinalities, dtype=np.int64), size=(n, len(schema.cardinalities))
    )
    y = (rng.random(n) < 0.5).astype(np.float32)
    return torch.from_numpy(x_num), torch.from_numpy(x_cat.astype(np.int64)), torch.from_numpy(y)
