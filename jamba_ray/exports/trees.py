"""Reads the trees of a checkpoint, of LightGBM's text or of arrays, as the nodes of one ensemble.

Letters: T trees, S splits and L leaves of all trees.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from jamba_ray.models.tree_text import checked

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
_CATEGORICAL = 1
_ZERO = 1
"""The kind of missing value by which LightGBM sends zeros their own way."""


@dataclass
class Nodes:
    """Holds the splits and leaves of all trees; a row goes to a split's true side or false side."""

    roots: list[int] = field(default_factory=list)
    """[T], the first split of each tree that has one."""
    feature: list[int] = field(default_factory=list)
    """[S]."""
    threshold: list[float] = field(default_factory=list)
    """[S], at most this goes to the true side; 0 where ``members`` decide."""
    members: list[tuple[int, ...] | None] = field(default_factory=list)
    """[S], the codes that go to the true side, or None where the threshold decides."""
    true: list[tuple[int, bool]] = field(default_factory=list)
    """[S], (number of a split or of a leaf, whether it is a leaf)."""
    false: list[tuple[int, bool]] = field(default_factory=list)
    leaf: list[float] = field(default_factory=list)
    """[L], what a leaf adds to the sum."""
    base: float = 0.0
    """What the sum begins with: a constant, and what trees without a split add."""

    def add(
        self,
        feature: Sequence[int],
        threshold: Sequence[float],
        members: Sequence[tuple[int, ...] | None],
        children: Sequence[tuple[int, int]],
        leaf: Sequence[float],
    ) -> None:
        """Adds a tree whose ``children`` are (true side, false side): a split's number in the tree,
        or ``~`` a leaf's."""
        if not feature:
            self.base += leaf[0]
            return
        splits, leaves = len(self.feature), len(self.leaf)

        def place(child: int) -> tuple[int, bool]:
            return (leaves + ~child, True) if child < 0 else (splits + child, False)

        self.roots.append(splits)
        self.feature += feature
        self.threshold += threshold
        self.members += members
        self.true += [place(true) for true, _ in children]
        self.false += [place(false) for _, false in children]
        self.leaf += leaf

    def splits_of(self, feature: int) -> Floats:
        """Returns the different thresholds of one feature, ascending."""
        found = [
            t
            for f, t, m in zip(self.feature, self.threshold, self.members, strict=True)
            if f == feature and m is None
        ]
        return np.unique(np.array(found, dtype=np.float64))


def of_lightgbm(text: bytes, n_features: int) -> Nodes:
    """Reads LightGBM's text.

    Raises:
        ValueError: It is not the text of a sound model, or splits as no exported file can.
    """
    plain = checked(text, n_features)
    nodes = Nodes()
    for block in plain.partition("\nend of trees")[0].split("\nTree=")[1:]:
        lines = [line.partition("=") for line in block.splitlines()]
        _add_lightgbm(nodes, {key: value.split() for key, equals, value in lines if equals})
    return nodes


def _add_lightgbm(nodes: Nodes, tree: Mapping[str, list[str]]) -> None:
    kinds = [int(word) for word in tree["decision_type"]]
    if any(kind >> 2 & 3 == _ZERO for kind in kinds if not kind & _CATEGORICAL):
        raise ValueError("it takes zeros for missing values, which is not exported")
    bounds = [int(word) for word in tree.get("cat_boundaries", [])]
    words = [int(word) for word in tree.get("cat_threshold", [])]
    thresholds: list[float] = []
    members: list[tuple[int, ...] | None] = []
    for kind, word in zip(kinds, tree["threshold"], strict=True):
        if kind & _CATEGORICAL:
            i = int(word)
            members.append(_codes(words[bounds[i] : bounds[i + 1]]))
            thresholds.append(0.0)
        else:
            members.append(None)
            thresholds.append(float(word))
    left, right = ([int(w) for w in tree[f"{side}_child"]] for side in ("left", "right"))
    nodes.add(
        [int(w) for w in tree["split_feature"]],
        thresholds,
        members,
        list(zip(left, right, strict=True)),
        [float(w) for w in tree["leaf_value"]],
    )


def _codes(words: Sequence[int]) -> tuple[int, ...]:
    """Returns the numbers whose bits are set."""
    return tuple(
        32 * i + bit for i, word in enumerate(words) for bit in range(32) if word >> bit & 1
    )


def of_arrays(arrays: Mapping[str, npt.NDArray[Any]], base: float) -> Nodes:
    """Reads what ``estimators.arrays.trees.Trees`` saves; it must be checked already."""
    nodes = Nodes(base=base)
    starts = arrays["starts"].tolist()
    for i, j in itertools.pairwise(starts):
        feature = arrays["feature"][i:j]
        is_leaf = feature < 0
        place = np.where(is_leaf, ~(np.cumsum(is_leaf) - 1), np.cumsum(~is_leaf) - 1)
        split = np.flatnonzero(~is_leaf)
        sides = (place[arrays[side][i:j][split]].tolist() for side in ("left", "right"))
        nodes.add(
            feature[split].tolist(),
            arrays["threshold"][i:j][split].astype(np.float64).tolist(),
            [None] * len(split),
            list(zip(*sides, strict=True)),
            arrays["value"][i:j][is_leaf].tolist(),
        )
    return nodes
