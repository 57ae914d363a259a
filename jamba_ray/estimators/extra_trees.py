"""Defines ``extra_trees`` (Geurts et al. 2006): trees on all rows, with split points drawn at
random.

300 trees of at most 15,000 leaves are the defaults of AutoGluon, with which TabArena (Erickson et
al. 2025, arXiv 2506.16791) evaluates it; the rest are scikit-learn's.
"""

from __future__ import annotations

from typing import Any, Literal

from jamba_ray.estimators.estimator import register
from jamba_ray.estimators.forest import Forest, ForestSection


class ExtraTreesSection(ForestSection):
    """Configures the family ``extra_trees``."""

    name: Literal["extra_trees"] = "extra_trees"


class ExtraTrees(Forest[ExtraTreesSection]):
    """Averages trees that each drew other split points."""

    def forest(self, **settings: Any) -> Any:
        """Makes scikit-learn's forest."""
        from sklearn.ensemble import ExtraTreesClassifier

        return ExtraTreesClassifier(**settings)


register("extra_trees", ExtraTreesSection, ExtraTrees)
