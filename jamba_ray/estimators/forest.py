"""Trains a forest with scikit-learn, a few trees at a time, and keeps it as arrays.

``random_forest`` and ``extra_trees`` are this with another class of scikit-learn.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from pydantic import Field

from jamba_ray.config.family import ModelSection
from jamba_ray.estimators.estimator import Columns, Estimator, Saved, Task

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from jamba_ray.estimators.arrays.trees import Tree, Trees

    Floats = npt.NDArray[np.float64]
    Matrix = npt.NDArray[np.float32]


class ForestSection(ModelSection):
    """Defines the settings that forests share."""

    n_estimators: Annotated[int, Field(ge=1, le=10_000)] = 300
    """Trees; their mean is the score."""
    max_features: Literal["sqrt", "log2", "all"] | Annotated[float, Field(gt=0.0, le=1.0)] = "sqrt"
    """Features drawn for each split: a rule or a share."""
    min_samples_leaf: Annotated[int, Field(ge=1)] = 1
    """Rows a leaf needs; more: a smaller model that follows noise less."""
    max_leaf_nodes: Annotated[int, Field(ge=2, le=1_000_000)] = 15_000
    """Leaves of a tree at most."""
    criterion: Literal["gini", "entropy"] = "gini"
    """What makes a split good."""


S = TypeVar("S", bound=ForestSection)


class Forest(Estimator[S]):
    """Averages trees that each saw other rows or drew other splits."""

    requires = "sklearn"
    extra = "sklearn"

    def __init__(self, section: S, columns: Columns) -> None:
        super().__init__(section, columns)
        self._trees: Trees | None = None
        self._grown: list[Tree] = []

    @property
    def n_rounds(self) -> int:
        """Returns the number of trees."""
        return self.section.n_estimators

    @abstractmethod
    def forest(self, **settings: Any) -> Any:
        """Makes scikit-learn's forest."""

    def fit(self, task: Task) -> None:
        """Grows as many trees as are due; scikit-learn grows more onto what it has
        (``warm_start``), and the forest is the one that it grows at once."""
        import numpy as np

        from jamba_ray.estimators.arrays.trees import MAX_DEPTH

        section, watch, done = self.section, task.watch, 0
        forest = self.forest(
            max_features=None if section.max_features == "all" else section.max_features,
            min_samples_leaf=section.min_samples_leaf,
            max_leaf_nodes=section.max_leaf_nodes,
            max_depth=MAX_DEPTH - 1,
            criterion=section.criterion,
            random_state=task.seed,
            n_jobs=task.n_threads,
            warm_start=True,
        )
        weight = np.where(task.y == 1.0, np.float32(task.threat_weight), np.float32(1.0))
        judged = np.zeros(len(task.judged))
        while done < self.n_rounds:
            forest.set_params(n_estimators=watch.due(done))
            forest.fit(task.x, task.y, weight)
            for tree in forest.estimators_[done:]:
                judged += tree.tree_.predict(task.judged)[:, 1]
                self._grown.append(_tree(tree.tree_))
            done = len(forest.estimators_)
            if not watch(done, judged / done):
                break

    def save(self, rounds: int) -> Saved:
        """Returns the first trees; each leaf holds its share of the mean."""
        from jamba_ray.estimators.arrays.trees import Trees

        return Trees.of(self._grown[:rounds], 0.0, self.columns.n_features).save()

    def load(self, saved: Saved) -> None:
        """Raises ValueError where the arrays are no sound trees."""
        from jamba_ray.estimators.arrays.trees import Trees

        self._trees = Trees.load(saved, self.columns.n_features)

    def predict_proba(self, x: Matrix) -> Floats:
        """Returns the mean of the trees' shares of threats [N]."""
        if self._trees is None:
            raise RuntimeError("load was not called")
        return (self._trees.sums(x, self.n_threads) / self._trees.n_trees).clip(0.0, 1.0)


def _tree(native: Any) -> Tree:
    """Converts a tree of scikit-learn, whose nodes are in depth-first or best-first order: a child
    comes after its parent in both."""
    import numpy as np

    from jamba_ray.estimators.arrays.trees import Tree

    leaf = native.children_left < 0
    counts = native.value[:, 0, :]
    share = counts[:, 1] / np.maximum(counts.sum(axis=1), 1e-300)
    return Tree(
        feature=np.where(leaf, -1, native.feature).astype(np.int32),
        threshold=_at_most(native.threshold, leaf),
        left=native.children_left.astype(np.int32),
        right=native.children_right.astype(np.int32),
        value=np.where(leaf, share, 0.0),
        cover=native.weighted_n_node_samples.astype(np.float32),
    )


def _at_most(threshold: Floats, leaf: npt.NDArray[np.bool_]) -> Matrix:
    """Rounds thresholds down to float32: rows are float32, so none changes sides."""
    import numpy as np

    exact = np.where(leaf, 0.0, threshold)
    rounded = exact.astype(np.float32)
    return np.where(rounded > exact, np.nextafter(rounded, np.float32(-np.inf)), rounded)
