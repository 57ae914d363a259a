"""Defines ``random_forest`` (Breiman 2001): trees on drawn rows, the best of drawn features at each
split.

300 trees of at most 15,000 leaves are the defaults of AutoGluon, with which TabArena (Erickson et
al. 2025, arXiv 2506.16791) evaluates it; the rest are scikit-learn's.
"""

from __future__ import annotations

from typing import Any, Literal

from jamba_ray.estimators.estimator import register
from jamba_ray.estimators.forest import Forest, ForestSection


class RandomForestSection(ForestSection):
    """Configures the family ``random_forest``."""

    name: Literal["random_forest"] = "random_forest"


class RandomForest(Forest[RandomForestSection]):
    """Averages trees that each drew other rows."""

    def forest(self, **settings: Any) -> Any:
        """Makes scikit-learn's forest."""
        from sklearn.ensemble import RandomForestClassifier

        return RandomForestClassifier(**settings)


register("random_forest", RandomForestSection, RandomForest)
