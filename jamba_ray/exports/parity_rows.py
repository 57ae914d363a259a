"""Makes rows on which a wrong export differs: random rows accept trees with rounded thresholds.

Each value at which a model changes sides is in some row, and so are its two neighbours: the knots
of every scale, every split of a tree, infinities, gaps, unknown and blank categories.

Letters: N rows, K values of a column.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from jamba_ray.checkpoints import Snapshot
from jamba_ray.data import Preprocessor
from jamba_ray.data.cells import to_names, to_numbers
from jamba_ray.data.fitted_columns import NumericColumn
from jamba_ray.data.number_format import PLAIN
from jamba_ray.data.scaling import QuantileScale
from jamba_ray.estimators.estimator import saved_in
from jamba_ray.exports.preprocessing_nodes import numbers_of
from jamba_ray.exports.trees import Nodes, of_arrays, of_lightgbm
from jamba_ray.inference.scorer import config_of
from jamba_ray.inference.team import parts_of

Floats: TypeAlias = npt.NDArray[np.float64]

MOST_SPLITS = 2000
"""Splits of one column that are tried at most, drawn by chance: forests have many thousands."""
_CHANGED = 4
"""Columns of a row that have such a value; the others are those of a row of training."""
_HALVINGS = 128
_ODD = (
    *(np.nan, np.inf, -np.inf, 1e308, -1e308, 0.0, -0.0, 5e-324, 1e-300, 0.1, -1.0, 1.0),
    *(2.0**24 + 1, 2.0**53, 2.0**53 + 2, -(2.0**53), 2.0**63, 2.0**64, 1.7976931348623157e308),
)
_ODD_NAMES = (None, "", " ", "never seen in training", "NaN", "\u2028", "0", "'", "a" * 300)


def splits_of(snapshot: Snapshot, preprocessor: Preprocessor) -> dict[str, Floats]:
    """Returns column -> the scaled values at which trees split it; empty for other models."""
    found: dict[str, list[Floats]] = {}
    for nodes in _trees_of(snapshot, preprocessor.schema.input_dim):
        for j, column in enumerate(preprocessor.numeric):
            found.setdefault(column.name, []).append(nodes.splits_of(j))
    return {name: np.unique(np.concatenate(parts)) for name, parts in found.items()}


def _trees_of(snapshot: Snapshot, n_features: int) -> Iterable[Nodes]:
    for one in [part.snapshot for part in parts_of(snapshot)] or [snapshot]:
        saved = saved_in(one.tensors, one.documents)
        if config_of(one).model.name == "lightgbm":
            yield of_lightgbm(one.blobs["model.txt"], n_features)
        elif "threshold" in saved.arrays:
            yield of_arrays(saved.arrays, 0.0)


def hard_rows(
    real: pd.DataFrame | None, preprocessor: Preprocessor, splits: Mapping[str, Floats]
) -> pd.DataFrame:
    """Returns rows [N] in which every hard value of every column occurs.

    ``real``: rows from which the other columns are taken; None: they are made up.
    """
    rng = np.random.default_rng(0)
    numeric = {c.name: c for c in preprocessor.numeric}
    named = {c.name: c.categories for c in preprocessor.categorical if not c.tells_missing}
    values: dict[str, Any] = {
        name: _numbers(numeric.get(name), splits.get(name), rng)
        for name in numbers_of(preprocessor)
    } | {name: (*_ODD_NAMES, *names, *(f" {n} " for n in names)) for name, names in named.items()}
    sizes = [len(one) for one in values.values()]
    n = max(*sizes, sum(sizes) // _CHANGED, 1)
    columns, at = {}, 0
    for name, hard in values.items():
        drawn = rng.integers(0, n if real is None else len(real), n)
        base = _made_up(name, numeric.get(name), named.get(name), n, rng)
        if real is not None:
            base = _plain(real[name], preprocessor, is_number=name not in named)[drawn]
        base[(at + np.arange(len(hard))) % n] = np.array(
            hard, dtype=object if name in named else np.float64
        )
        at += len(hard)
        columns[name] = base
    return pd.DataFrame(columns)


def _plain(
    column: pd.Series[Any], preprocessor: Preprocessor, *, is_number: bool
) -> npt.NDArray[Any]:
    if is_number:
        return to_numbers(column, preprocessor.formats.get(str(column.name), PLAIN))
    codes, names = to_names(column)
    return np.array([*names, None], dtype=object)[codes]


def _made_up(
    name: str,
    column: NumericColumn | None,
    names: tuple[str, ...] | None,
    n: int,
    rng: np.random.Generator,
) -> npt.NDArray[Any]:
    if names is not None:
        return np.array(names, dtype=object)[rng.integers(0, len(names), n)]
    if column is None:
        return np.where(rng.random(n) < 0.5, np.nan, 1.0)
    if isinstance(column.scale, QuantileScale):
        at = rng.uniform(0, len(column.scale.values) - 1, n)
        knots = np.asarray(column.scale.values)
        drawn: Floats = np.interp(at, np.arange(len(knots)), knots) * column.scale.unit
        return drawn
    return np.clip(
        (rng.normal(size=n) * column.scale.spread + column.scale.center) * column.scale.unit,
        column.low,
        column.high,
    )


def _numbers(
    column: NumericColumn | None, splits: Floats | None, rng: np.random.Generator
) -> Floats:
    """Returns the hard values [K] of a column of numbers."""
    parts = [np.array(_ODD)]
    if column is not None:
        parts.append(_and_neighbours(np.array([column.low, column.high, column.fill])))
        if isinstance(column.scale, QuantileScale):
            with np.errstate(over="ignore"):
                parts.append(_and_neighbours(np.array(column.scale.values) * column.scale.unit))
        if splits is not None and len(splits):
            if len(splits) > MOST_SPLITS:
                splits = np.sort(rng.choice(splits, MOST_SPLITS, replace=False))
            parts.append(both_sides(column, splits))
    return np.concatenate(parts)


def _and_neighbours(x: Floats) -> Floats:
    return np.concatenate([np.nextafter(x, -np.inf), x, np.nextafter(x, np.inf)])


def both_sides(column: NumericColumn, splits: Floats) -> Floats:
    """Returns for each scaled split the last raw value that is at most it, and the next one.

    They are found by halving: scaling keeps the order. Splits beyond the range of training are left
    out.
    """
    low, high = np.full(len(splits), column.low), np.full(len(splits), column.high)
    inside = (column(low) <= splits) & (column(high) > splits)
    low, high, splits = low[inside], high[inside], splits[inside]
    for _ in range(_HALVINGS):
        middle = low / 2 + high / 2
        is_left = column(middle) <= splits
        low, high = np.where(is_left, middle, low), np.where(is_left, high, middle)
    return np.concatenate([low, high])
