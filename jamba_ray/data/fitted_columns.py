"""Describes one column as the training rows have it: how it is scaled, or which names it knows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from jamba_ray.config.data import PreprocessingSection
from jamba_ray.data.cells import to_names
from jamba_ray.data.scaling import Floats, Scale, fit_scale


@dataclass(frozen=True)
class NumericColumn:
    """Scales one numeric column; first infinities become ``low`` or ``high``, gaps ``fill``."""

    name: str
    low: float
    high: float
    fill: float
    scale: Scale
    bin_edges: tuple[float, ...]

    def __call__(self, values: Floats) -> npt.NDArray[np.float32]:
        """Transforms [N] raw values to [N] scaled and finite ones."""
        finite = np.where(np.isnan(values), self.fill, values)
        finite = np.where(np.isposinf(finite), self.high, finite)
        finite = np.where(np.isneginf(finite), self.low, finite)
        return self.scale(finite).astype(np.float32)


@dataclass(frozen=True)
class CategoricalColumn:
    """Describes one categorical feature: ``categories[i]`` has code i + 1, everything else code 0.

    With ``tells_missing`` it is about a numeric column and has one category, 'present'.
    """

    name: str
    categories: tuple[str, ...]
    tells_missing: bool = False

    @property
    def feature(self) -> str:
        """Returns its name among the features."""
        return f"{self.name} (missing)" if self.tells_missing else self.name


def fit_numeric(
    name: str, values: Floats, section: PreprocessingSection
) -> tuple[NumericColumn | None, str]:
    """Fits to a column's values [N]; also returns a note on it, or why it is left out."""
    finite = values[np.isfinite(values)]
    scale = fit_scale(finite, section.scaling) if len(finite) else None
    if scale is None:
        return (
            None,
            f"Column {name!r} takes no two finite values in training, so its values are left out.",
        )
    column = NumericColumn(
        name,
        low=float(finite.min()),
        high=float(finite.max()),
        # An observed value: the mean of the middle two could overflow.
        fill=float(np.quantile(finite, 0.5, method="inverted_cdf")),
        scale=scale,
        bin_edges=(),
    )
    scaled = column(values)
    levels = np.linspace(0.0, 1.0, section.n_bins + 1)
    edges = np.unique(np.quantile(scaled, levels, method="inverted_cdf"))
    if len(edges) < 2:  # a rare value falls between all levels
        edges = np.unique([scaled.min(), scaled.max()])
    if len(edges) < 2:
        return None, f"Column {name!r} does not vary in float32 after scaling; left out."
    infinite = int(np.isinf(values).sum())
    note = (
        f"Column {name!r} is infinite in {infinite} training rows; its largest or smallest finite "
        "value stands in."
        if infinite
        else ""
    )
    column = NumericColumn(
        name, column.low, column.high, column.fill, scale, tuple(edges.astype(float).tolist())
    )
    return column, note


def frequent(column: pd.Series[Any], section: PreprocessingSection) -> tuple[str, ...]:
    """Returns the categories that get a code, most frequent first; ties in the order of their
    names."""
    codes, names = to_names(column)
    counts = np.bincount(codes[codes >= 0], minlength=len(names))
    order = sorted(range(len(names)), key=lambda i: (-counts[i], names[i]))
    kept = [names[i] for i in order if counts[i] >= max(section.rare_below, 1)]
    return tuple(kept[: section.max_categories])


def codes_of(
    column: pd.Series[Any], categories: tuple[str, ...]
) -> tuple[npt.NDArray[np.int64], int]:
    """Returns the codes [N] of a column, and how many of its cells are missing."""
    codes, names = to_names(column)
    code = {category: i + 1 for i, category in enumerate(categories)}
    # The last entry is what -1 (missing) picks.
    of_name = np.array([code.get(name, 0) for name in names] + [0], dtype=np.int64)
    return of_name[codes], int((codes < 0).sum())
