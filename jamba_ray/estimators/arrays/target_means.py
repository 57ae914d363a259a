"""Adds, for each categorical feature, the share of threats among training rows of its category.

Boosted trees split such a number where they would need many splits on codes (Micci-Barreca 2001). A
training row gets the share among the rows of the other four fifths, so that it does not see its own
label; a new row gets that of all training rows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from jamba_ray.estimators.estimator import Columns

Floats = npt.NDArray[np.float64]
Matrix = npt.NDArray[np.float32]

_FOLDS = 5
_PRIOR_ROWS = 10.0
"""Rows of the overall share that each category counts besides its own."""
_FEWEST_CODES = 3
"""A feature of two codes splits one way only."""


class TargetMeans:
    """Holds the share of threats of each category."""

    def __init__(self, columns: Columns, means: npt.NDArray[np.float32]) -> None:
        """Raises ValueError where ``means`` are not one for each code."""
        self.features = [
            columns.n_numeric + i
            for i, size in enumerate(columns.cardinalities)
            if size >= _FEWEST_CODES
        ]
        self._sizes = [columns.cardinalities[f - columns.n_numeric] for f in self.features]
        if means.dtype != np.float32 or means.shape != (sum(self._sizes),):
            raise ValueError(
                f"`target_means` must be float32 [{sum(self._sizes)}], but is {means.dtype} "
                f"{means.shape}"
            )
        if not ((means >= 0.0) & (means <= 1.0)).all():
            raise ValueError("`target_means` must be from 0 to 1, but some are not")
        self.means = means

    @classmethod
    def fit(
        cls, columns: Columns, x: Matrix, y: npt.NDArray[np.float32], seed: int
    ) -> tuple[TargetMeans, Matrix]:
        """Learns the shares; also returns ``x`` with those of the training rows beside it."""
        none = cls(columns, np.zeros(sum(_sizes(columns)), dtype=np.float32))
        fold = np.random.default_rng(seed).integers(0, _FOLDS, len(x))
        prior, added, tables = float(y.mean(dtype=np.float64)), [], []
        for feature, size in zip(none.features, none._sizes, strict=True):
            cell = x[:, feature].astype(np.int64) * _FOLDS + fold
            n = np.bincount(cell, minlength=size * _FOLDS).reshape(size, _FOLDS)
            threats = np.bincount(cell, y, size * _FOLDS).reshape(size, _FOLDS)
            n_all, threats_all = n.sum(axis=1), threats.sum(axis=1)
            others = _share(threats_all[:, None] - threats, n_all[:, None] - n, prior)
            added.append(others.astype(np.float32).ravel()[cell])
            tables.append(_share(threats_all, n_all, prior).astype(np.float32))
        means = np.concatenate([*tables, np.zeros(0, np.float32)])
        return cls(columns, means), np.column_stack([x, *added])

    def __call__(self, x: Matrix) -> Matrix:
        """Returns ``x`` [N, F] with the shares of its categories beside it."""
        added: list[npt.NDArray[Any]] = []
        place = 0
        for feature, size in zip(self.features, self._sizes, strict=True):
            codes = np.clip(x[:, feature], 0, size - 1).astype(np.int64)
            added.append(self.means[place + codes])
            place += size
        return np.column_stack([x, *added])

    def onto_features(self, values: Floats) -> Floats:
        """Adds what the added features contribute [N, F + A] to the features they come from."""
        n = values.shape[1] - len(self.features)
        found = values[:, :n].copy()
        for i, feature in enumerate(self.features):
            found[:, feature] += values[:, n + i]
        return found


def _sizes(columns: Columns) -> list[int]:
    return [size for size in columns.cardinalities if size >= _FEWEST_CODES]


def _share(threats: Floats, n: npt.NDArray[Any], prior: float) -> Floats:
    found: Floats = (threats + _PRIOR_ROWS * prior) / (n + _PRIOR_ROWS)
    return found
