"""Holds trees of any library as arrays, checks such arrays in full, and scores with them.

No library's own file is ever read back: what a checkpoint holds are arrays, and once these are
checked LightGBM, which comes with jamba_ray, scores with them at native speed. So a forest or
XGBoost's trees score where neither scikit-learn nor XGBoost is installed.

Letters: T trees, M nodes of all trees, N rows, F features.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import lightgbm
import numpy as np
import numpy.typing as npt

from jamba_ray.estimators.estimator import Saved

Floats = npt.NDArray[np.float64]
Matrix = npt.NDArray[np.float32]

MAX_DEPTH = 512
"""Deepest tree that is read; LightGBM descends some trees by recursion."""
_MAX_TREES = 100_000
_CHUNK_ROWS = 65_536
_MOST_COVER = 1e9
_ARRAYS: dict[str, np.dtype[Any]] = {
    "starts": np.dtype(np.int64),
    "feature": np.dtype(np.int32),
    "threshold": np.dtype(np.float32),
    "left": np.dtype(np.int32),
    "right": np.dtype(np.int32),
    "value": np.dtype(np.float64),
    "cover": np.dtype(np.float32),
}


@dataclass(frozen=True)
class Tree:
    """Holds one binary tree: node 0 is the root, and a child comes after its parent."""

    feature: npt.NDArray[np.int32]
    """[M]; -1: the node is a leaf."""
    threshold: Matrix
    """[M]; rows with at most this value go left."""
    left: npt.NDArray[np.int32]
    """[M]; -1 at a leaf."""
    right: npt.NDArray[np.int32]
    value: Floats
    """[M]; what a leaf adds to the score, 0 elsewhere."""
    cover: Matrix
    """[M]; weight of the training rows that came to the node."""


class Trees:
    """Scores rows with the sum of trees."""

    def __init__(self, arrays: dict[str, npt.NDArray[Any]], base: float, n_features: int) -> None:
        """Raises ValueError where ``arrays`` are no sound trees over ``n_features``."""
        check(arrays, base, n_features)
        self._arrays, self._base, self._n_features = arrays, base, n_features
        self._booster: lightgbm.Booster | None = None

    @classmethod
    def of(cls, trees: Sequence[Tree], base: float, n_features: int) -> Trees:
        """Joins trees one after the other."""
        starts = np.cumsum([0, *(len(tree.feature) for tree in trees)])
        arrays: dict[str, npt.NDArray[Any]] = {
            name: np.concatenate([getattr(tree, name) for tree in trees]).astype(kind)
            for name, kind in _ARRAYS.items()
            if name != "starts"
        }
        return cls({"starts": starts.astype(np.int64), **arrays}, base, n_features)

    @classmethod
    def load(cls, saved: Saved, n_features: int) -> Trees:
        """Reads what ``save`` returned; raises ValueError where it is not that."""
        base = saved.document.get("base")
        if not isinstance(base, float):
            raise ValueError(f"`base` must be a number, but is {base!r}")
        return cls(dict(saved.arrays), base, n_features)

    def save(self) -> Saved:
        """Returns the trees as arrays."""
        return Saved(self._arrays, {"base": self._base})

    def first(self, n: int) -> Trees:
        """Returns the first ``n`` trees."""
        starts = self._arrays["starts"][: n + 1]
        rest = {k: a[: starts[-1]] for k, a in self._arrays.items() if k != "starts"}
        return Trees({"starts": starts, **rest}, self._base, self._n_features)

    @property
    def n_trees(self) -> int:
        """Returns T."""
        return len(self._arrays["starts"]) - 1

    def sums(self, x: Matrix, n_threads: int = 1) -> Floats:
        """Returns the sum of the trees [N], ``base`` included."""
        found = np.empty(len(x))
        for i in range(0, len(x), _CHUNK_ROWS):
            some = slice(i, i + _CHUNK_ROWS)
            found[some] = self._native.predict(x[some], raw_score=True, num_threads=n_threads)
        return found + self._base

    def contributions(self, x: Matrix) -> tuple[Floats, float]:
        """Returns what each feature adds to the sum [N, F], and what it adds to (TreeSHAP)."""
        found = np.empty((len(x), self._n_features + 1))
        for i in range(0, len(x), _CHUNK_ROWS):
            some = slice(i, i + _CHUNK_ROWS)
            found[some] = self._native.predict(x[some], pred_contrib=True, num_threads=1)
        base = float(found[0, -1]) if len(found) else 0.0
        return found[:, :-1], base + self._base

    @property
    def _native(self) -> lightgbm.Booster:
        if self._booster is None:
            self._booster = lightgbm.Booster(model_str=self._text())
        return self._booster

    def _text(self) -> str:
        """Writes the trees as LightGBM does."""
        starts = self._arrays["starts"].tolist()
        blocks = [
            _block(number, {k: a[i:j] for k, a in self._arrays.items() if k != "starts"})
            for number, (i, j) in enumerate(itertools.pairwise(starts))
        ]
        names = " ".join(f"Column_{i}" for i in range(self._n_features))
        infos = " ".join(["[-1e308:1e308]"] * self._n_features)
        head = (
            "tree\nversion=v4\nnum_class=1\nnum_tree_per_iteration=1\nlabel_index=0\n"
            f"max_feature_idx={self._n_features - 1}\nobjective=binary sigmoid:1\n"
            f"feature_names={names}\nfeature_infos={infos}\n"
            f"tree_sizes={' '.join(str(len(block)) for block in blocks)}\n\n"
        )
        return f"{head}{''.join(blocks)}end of trees\n"


def _block(number: int, nodes: dict[str, npt.NDArray[Any]]) -> str:
    """Writes one tree: LightGBM numbers splits and leaves apart."""
    leaf = nodes["feature"] < 0
    n_leaves, split = int(leaf.sum()), ~leaf
    lines = [f"Tree={number}", f"num_leaves={n_leaves}", "num_cat=0"]
    if n_leaves > 1:
        place = np.where(leaf, ~(np.cumsum(leaf) - 1), np.cumsum(split) - 1)
        counts = np.maximum(1, np.round(_scaled(nodes["cover"]))).astype(np.int64)
        lines += [
            f"split_feature={_words(nodes['feature'][split])}",
            f"threshold={_words(nodes['threshold'][split].astype(np.float64))}",
            f"decision_type={' '.join(['0'] * (n_leaves - 1))}",
            f"left_child={_words(place[nodes['left'][split]])}",
            f"right_child={_words(place[nodes['right'][split]])}",
            f"leaf_value={_words(nodes['value'][leaf])}",
            f"leaf_count={_words(counts[leaf])}",
            f"internal_value={' '.join(['0'] * (n_leaves - 1))}",
            f"internal_count={_words(counts[split])}",
        ]
    else:
        lines += [f"leaf_value={_words(nodes['value'][leaf])}"]
    return "\n".join([*lines, "is_linear=0", "shrinkage=1", "", "", ""])


def _scaled(cover: Matrix) -> Floats:
    """Scales weights so that whole numbers tell them apart."""
    most = float(cover.max(initial=0.0))
    return cover.astype(np.float64) * (_MOST_COVER / most if most > 0 else 1.0)


def _words(values: npt.NDArray[Any]) -> str:
    return " ".join(map(repr, values.tolist()))


def check(arrays: dict[str, npt.NDArray[Any]], base: float, n_features: int) -> None:
    """Checks that arrays are sound trees: a native library scores with them unchecked.

    Raises:
        ValueError: With the first thing that is wrong.
    """
    if arrays.keys() != _ARRAYS.keys():
        odd = sorted(arrays.keys() ^ _ARRAYS.keys())
        raise ValueError(f"arrays are missing or unknown: {', '.join(map(repr, odd[:4]))}")
    for name, kind in _ARRAYS.items():
        found = arrays[name]
        if found.dtype != kind or found.ndim != 1:
            raise ValueError(f"`{name}` must be {kind} [:], but is {found.dtype} {found.shape}")
    starts, n_nodes = arrays["starts"], len(arrays["feature"])
    sizes = np.diff(starts)
    if not 1 <= len(sizes) <= _MAX_TREES:
        raise ValueError(f"there must be 1 to {_MAX_TREES} trees, but are {len(sizes)}")
    if starts[0] != 0 or starts[-1] != n_nodes or bool((sizes < 1).any()):
        raise ValueError(f"`starts` must rise from 0 to {n_nodes}, but does not")
    if any(len(arrays[name]) != n_nodes for name in _ARRAYS if name != "starts"):
        raise ValueError(f"each array must have {n_nodes} nodes, but not all have")
    finite = [np.isfinite(arrays[name]).all() for name in ("threshold", "value", "cover")]
    if not (all(finite) and np.isfinite(base)) or bool((arrays["cover"] < 0).any()):
        raise ValueError("values must be finite and weights not negative, but some are not so")
    _check_shape(arrays, sizes, n_features)


def _check_shape(
    arrays: dict[str, npt.NDArray[Any]], sizes: npt.NDArray[np.int64], n_features: int
) -> None:
    """Checks that nodes make trees.

    A child comes after its parent and each node but a root has one parent: then there is no cycle,
    and all hang below their root.
    """
    feature, starts = arrays["feature"], arrays["starts"][:-1]
    if bool((feature < -1).any()) or bool((feature >= n_features).any()):
        raise ValueError(f"`feature` must be from -1 to {n_features - 1}, but is not")
    splits = np.flatnonzero(feature >= 0)
    tree = np.repeat(np.arange(len(sizes)), sizes)
    place = np.arange(len(feature)) - starts[tree]
    parents = np.zeros(len(feature), dtype=np.int64)
    children = []
    for name in ("left", "right"):
        child = arrays[name]
        if bool((child[feature < 0] != -1).any()):
            raise ValueError(f"`{name}` of a leaf must be -1, but is not")
        child = child[splits].astype(np.int64)
        if bool((child <= place[splits]).any()) or bool((child >= sizes[tree[splits]]).any()):
            raise ValueError(f"`{name}` must lie below its parent in the same tree, but does not")
        child += starts[tree[splits]]
        np.add.at(parents, child, 1)
        children.append(child)
    if bool((parents != (place != 0)).any()):
        raise ValueError("each node but the root must have one parent, but not all have")
    level = starts
    for _ in range(MAX_DEPTH):
        inner = feature[level] >= 0
        if not inner.any():
            return
        at = np.searchsorted(splits, level[inner])
        level = np.concatenate([child[at] for child in children])
    raise ValueError(f"trees must be at most {MAX_DEPTH} deep, but one is deeper")
