"""Defines ``catboost`` (Prokhorenkova et al. 2018): boosted trees that are the same in a whole
level.

The defaults are those that Holzmüller et al. (2024, "Better by default", arXiv 2407.04491) tuned on
118 data sets, with the best of a trial's reports in place of their early stopping. Categories are
given as codes and as target means (``target_means``) in place of CatBoost's own statistics, which
only its own library could score with.
"""

from __future__ import annotations

import json
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from jamba_ray.config.family import ModelSection
from jamba_ray.estimators.boosted import Boosted
from jamba_ray.estimators.estimator import Task, register

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from jamba_ray.estimators.arrays.trees import Tree

    Floats = npt.NDArray[np.float64]


class CatboostSection(ModelSection):
    """Configures the family ``catboost``."""

    name: Literal["catboost"] = "catboost"
    n_estimators: Annotated[int, Field(ge=1, le=100_000)] = 1000
    """Boosting rounds at most."""
    learning_rate: Annotated[float, Field(gt=0.0, le=1.0)] = 0.08
    """Shrinkage of each tree (``training.learning_rate`` is for networks)."""
    max_depth: Annotated[int, Field(ge=1, le=16)] = 7
    """Levels of a tree."""
    subsample: Annotated[float, Field(gt=0.0, le=1.0)] = 0.9
    """Share of rows drawn for each tree."""
    reg_lambda: Annotated[float, Field(ge=0.0)] = 1e-5
    """L2 penalty on leaf values."""
    random_strength: Annotated[float, Field(ge=0.0)] = 0.8
    """Noise added to the scores of splits, against overfitting."""
    max_bin: Annotated[int, Field(ge=2, le=65_535)] = 254
    """Histogram bins per feature."""


class Catboost(Boosted[CatboostSection]):
    """Grows CatBoost's trees."""

    requires = "catboost"
    extra = "catboost"

    @property
    def n_rounds(self) -> int:
        """Returns the boosting rounds."""
        return self.section.n_estimators

    def fit(self, task: Task) -> None:
        """Grows all trees in one call; CatBoost hands over its scores as to a metric of ours."""
        import catboost
        import numpy as np

        from jamba_ray.estimators.arrays.target_means import TargetMeans
        from jamba_ray.estimators.arrays.trees import Trees

        self._means, x = TargetMeans.fit(self.columns, task.x, task.y, task.seed)
        section, scores = self.section, _Scores(task)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it would like Numba for metrics written in Python
            model = catboost.CatBoostClassifier(
                iterations=section.n_estimators,
                learning_rate=section.learning_rate,
                depth=section.max_depth,
                subsample=section.subsample,
                l2_leaf_reg=section.reg_lambda,
                random_strength=section.random_strength,
                border_count=section.max_bin,
                boosting_type="Plain",
                bootstrap_type="Bernoulli",
                leaf_estimation_iterations=1,
                class_weights=[1.0, task.threat_weight],
                boost_from_average=True,
                eval_metric=scores,
                random_seed=task.seed,
                thread_count=task.n_threads,
                allow_writing_files=False,
                verbose=False,
            )
            judged = self._means(task.judged)
            labels = np.arange(len(judged)) % 2  # of no meaning, but both must occur
            try:
                model.fit(
                    x, task.y, eval_set=(judged, labels), use_best_model=False, callbacks=[scores]
                )
            except catboost.CatBoostError as error:
                raise ValueError(" ".join(str(error).split())) from error
        if scores.error is not None:
            raise scores.error
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.json"
            model.save_model(str(path), "json")
            document = json.loads(path.read_bytes())
        scale, (bias,) = document["scale_and_bias"]
        if scale != 1:
            raise ValueError(f"CatBoost scales its trees by {scale}, which is not known here")
        trees = [_tree(tree) for tree in document["oblivious_trees"]]
        self._trees = Trees.of(trees, float(bias), x.shape[1])


class _Scores:
    """Takes scores as CatBoost's metric, and reports them as its callback after a round."""

    def __init__(self, task: Task) -> None:
        self._task, self._due = task, task.watch.due(0)
        self._calls, self._round = 0, 1
        self._kept: Floats | None = None
        self.error: BaseException | None = None
        """What reporting raised: CatBoost would hand on a text of it at best."""

    def __deepcopy__(self, memo: Any) -> _Scores:
        # CatBoost copies its parameters, of which this is one.
        return self

    def is_max_optimal(self) -> bool:
        """Returns what CatBoost asks a metric; it decides nothing here."""
        return True

    def evaluate(self, approxes: Any, target: Any, weight: Any) -> tuple[float, float]:
        """Keeps the log-odds of the judged rows, which come after those of the training rows."""
        import numpy as np

        self._calls += 1
        if self._calls % 2 == 0 and self._round == self._due:
            self._kept = np.array(approxes[0], dtype=np.float64)
        return 0.0, 1.0

    def get_final_error(self, error: float, weight: float) -> float:
        """Returns what CatBoost asks a metric."""
        return error

    def after_iteration(self, info: Any) -> bool:
        """Reports where a report is due; returns whether training goes on."""
        from scipy.special import expit  # type: ignore[import-untyped]

        done, goes_on = self._round, True
        if done == self._due and self._kept is not None:
            try:
                goes_on = self._task.watch(done, expit(self._kept))
                self._due = self._task.watch.due(done)
            except BaseException as error:
                self.error, goes_on = error, False
        self._round += 1
        return goes_on


def _tree(native: dict[str, Any]) -> Tree:
    """Converts a tree of D levels, each with one split, to nodes level by level.

    The first split of CatBoost is the lowest bit of a leaf's number, so that the root has the last.
    """
    import numpy as np

    from jamba_ray.estimators.arrays.trees import Tree

    splits, values = native.get("splits") or [], np.array(native["leaf_values"], dtype=np.float64)
    covers = [np.array(native["leaf_weights"], dtype=np.float64)]
    for _ in splits:
        covers.insert(0, covers[0].reshape(-1, 2).sum(axis=1))
    n_inner = len(values) - 1
    of_level = [np.full(2**level, level) for level in range(len(splits))]
    level = np.concatenate([*of_level, np.zeros(0, dtype=np.int64)]).astype(np.int64)
    features = np.array([s["float_feature_index"] for s in reversed(splits)], dtype=np.int32)
    borders = np.array([s["border"] for s in reversed(splits)], dtype=np.float32)
    leaves, inner = len(values), np.arange(n_inner)
    return Tree(
        feature=np.concatenate([features[level], np.full(leaves, -1)]).astype(np.int32),
        threshold=np.concatenate([borders[level], np.zeros(leaves, np.float32)]),
        left=np.concatenate([2 * inner + 1, np.full(leaves, -1)]).astype(np.int32),
        right=np.concatenate([2 * inner + 2, np.full(leaves, -1)]).astype(np.int32),
        value=np.concatenate([np.zeros(n_inner), values]),
        cover=np.concatenate(covers).astype(np.float32),
    )


register("catboost", CatboostSection, Catboost)
