"""Defines ``xgboost`` (Chen and Guestrin 2016).

The defaults are those that Holzmüller et al. (2024, "Better by default", arXiv 2407.04491) tuned on
118 data sets, with the best of a trial's reports in place of their early stopping. Categories are
given as codes and as target means (``target_means``), not by XGBoost's own splits.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from jamba_ray.config.family import ModelSection
from jamba_ray.estimators.boosted import Boosted
from jamba_ray.estimators.estimator import Task, register

if TYPE_CHECKING:
    from jamba_ray.estimators.arrays.trees import Tree

Share = Annotated[float, Field(gt=0.0, le=1.0)]


class XgboostSection(ModelSection):
    """Configures the family ``xgboost``."""

    name: Literal["xgboost"] = "xgboost"
    n_estimators: Annotated[int, Field(ge=1, le=100_000)] = 1000
    """Boosting rounds at most."""
    learning_rate: Annotated[float, Field(gt=0.0, le=1.0)] = 0.08
    """Shrinkage of each tree (``training.learning_rate`` is for networks)."""
    max_depth: Annotated[int, Field(ge=1, le=64)] = 6
    """Largest depth of a tree."""
    min_child_weight: Annotated[float, Field(ge=0.0)] = 5e-6
    """Sum of second derivatives a leaf needs."""
    subsample: Share = 0.65
    """Share of rows drawn for each tree."""
    colsample_bytree: Share = 1.0
    """Share of features drawn for each tree."""
    colsample_bylevel: Share = 0.9
    """Share of features drawn for each level of a tree."""
    reg_alpha: Annotated[float, Field(ge=0.0)] = 0.0
    """L1 penalty on leaf values."""
    reg_lambda: Annotated[float, Field(ge=0.0)] = 0.0
    """L2 penalty on leaf values."""
    gamma: Annotated[float, Field(ge=0.0)] = 0.0
    """Least loss that a split must save."""
    max_bin: Annotated[int, Field(ge=2, le=65_535)] = 256
    """Histogram bins per feature."""


class Xgboost(Boosted[XgboostSection]):
    """Grows XGBoost's trees round by round."""

    requires = "xgboost"
    extra = "xgboost"

    @property
    def n_rounds(self) -> int:
        """Returns the boosting rounds."""
        return self.section.n_estimators

    def fit(self, task: Task) -> None:
        """Grows trees on histograms round by round, from the share of threats."""
        import numpy as np
        import xgboost

        from jamba_ray.estimators.arrays.target_means import TargetMeans
        from jamba_ray.estimators.arrays.trees import Trees

        self._means, x = TargetMeans.fit(self.columns, task.x, task.y, task.seed)
        weight = np.where(task.y == 1.0, task.threat_weight, 1.0)
        share = float(np.average(task.y, weights=weight))
        base = float(np.float32(np.log(share) - np.log1p(-share)))
        settings = self.section.model_dump(exclude={"name", "n_estimators"})
        params = settings | {
            "objective": "binary:logistic",
            "tree_method": "hist",
            "nthread": task.n_threads,
            "seed": task.seed,
            "base_score": 0.5,  # log-odds 0: what the trees begin from is given with the rows
            "verbosity": 0,
        }
        train = xgboost.QuantileDMatrix(
            x, task.y, weight=weight, max_bin=self.section.max_bin, nthread=task.n_threads
        )
        judged = xgboost.DMatrix(self._means(task.judged), nthread=task.n_threads)
        for rows in (train, judged):
            rows.set_base_margin(np.full(rows.num_row(), base, dtype=np.float32))
        booster, due = xgboost.Booster(params, [train, judged]), task.watch.due(0)
        for done in range(1, self.n_rounds + 1):
            booster.update(train, done - 1)
            if done == due:
                p = booster.predict(judged).astype(np.float64)
                if not np.isfinite(p).all():
                    raise ValueError(
                        f"scores are not finite after {done} rounds; lower `model.learning_rate` "
                        f"({self.section.learning_rate:g})"
                    )
                if not task.watch(done, p):
                    break
                due = task.watch.due(done)
        model = json.loads(booster.save_raw("json"))["learner"]["gradient_booster"]["model"]
        width = self.columns.n_features + len(self._means.features)
        self._trees = Trees.of([_tree(tree) for tree in model["trees"]], base, width)


def _tree(native: dict[str, Any]) -> Tree:
    """Converts one tree of XGBoost's JSON, nodes in order of their level: what ``gamma`` prunes
    leaves gaps."""
    import numpy as np

    from jamba_ray.estimators.arrays.trees import Tree

    left, right = (np.array(native[f"{side}_children"]) for side in ("left", "right"))
    order, level = [0], [0]
    while level := [int(side[n]) for n in level if left[n] >= 0 for side in (left, right)]:
        order += level
    place = np.full(len(left), -1)
    place[order] = np.arange(len(order))
    condition = np.array(native["split_conditions"], dtype=np.float32)[order]
    leaf = left[order] < 0
    # XGBoost sends to the left what is less, these trees what is at most the threshold.
    below = np.nextafter(condition, np.float32(-np.inf))
    return Tree(
        feature=np.where(leaf, -1, np.array(native["split_indices"])[order]).astype(np.int32),
        threshold=np.where(leaf, np.float32(0.0), below),
        left=np.where(leaf, -1, place[left[order]]).astype(np.int32),
        right=np.where(leaf, -1, place[right[order]]).astype(np.int32),
        value=np.where(leaf, condition, 0.0).astype(np.float64),
        cover=np.array(native["sum_hessian"], dtype=np.float32)[order],
    )


register("xgboost", XgboostSection, Xgboost)
