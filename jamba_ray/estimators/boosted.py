"""Keeps boosted trees of any library as arrays: what ``xgboost`` and ``catboost`` share."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from jamba_ray.config.family import ModelSection
from jamba_ray.estimators.estimator import Columns, Estimator, Saved

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from jamba_ray.estimators.arrays.target_means import TargetMeans
    from jamba_ray.estimators.arrays.trees import Trees

    Floats = npt.NDArray[np.float64]
    Matrix = npt.NDArray[np.float32]

S = TypeVar("S", bound=ModelSection)


class Boosted(Estimator[S]):
    """Scores with a sum of trees in log-odds, over features with target means beside them."""

    patience_rounds = 300

    def __init__(self, section: S, columns: Columns) -> None:
        super().__init__(section, columns)
        self._means: TargetMeans | None = None
        self._trees: Trees | None = None

    def save(self, rounds: int) -> Saved:
        """Returns the first trees and the shares of each category."""
        means, trees = self._fitted
        saved = trees.first(rounds).save()
        return Saved({**saved.arrays, "target_means": means.means}, saved.document)

    def load(self, saved: Saved) -> None:
        """Raises ValueError where the arrays are no sound trees."""
        from jamba_ray.estimators.arrays.target_means import TargetMeans
        from jamba_ray.estimators.arrays.trees import Trees

        arrays = dict(saved.arrays)
        if "target_means" not in arrays:
            raise ValueError("`target_means` is missing")
        self._means = TargetMeans(self.columns, arrays.pop("target_means"))
        width = self.columns.n_features + len(self._means.features)
        self._trees = Trees.load(Saved(arrays, saved.document), width)

    def predict_proba(self, x: Matrix) -> Floats:
        """Returns the probabilities [N]."""
        from scipy.special import expit  # type: ignore[import-untyped]

        p: Floats = expit(self.log_odds(x))
        return p

    def log_odds(self, x: Matrix) -> Floats:
        """Returns the sums of the trees [N]."""
        means, trees = self._fitted
        return trees.sums(means(x), self.n_threads)

    def contributions(self, x: Matrix) -> tuple[Floats, float]:
        """Returns exact Shapley values (TreeSHAP); the base is the mean over the training rows."""
        means, trees = self._fitted
        values, base = trees.contributions(means(x))
        return means.onto_features(values), base

    @property
    def _fitted(self) -> tuple[TargetMeans, Trees]:
        if self._means is None or self._trees is None:
            raise RuntimeError("neither fit nor load was called")
        return self._means, self._trees
