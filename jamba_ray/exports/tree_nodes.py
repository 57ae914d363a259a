"""Adds trees as one ``TreeEnsemble``, in float64 throughout.

Features are float32 and thresholds float64, as the libraries compare them: rounded to the nearest
float32 a threshold would send the rows that lie on it to the other side.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from jamba_ray.exports.graph import Graph
from jamba_ray.exports.trees import Nodes

_AT_MOST, _MEMBER = 0, 6


def sums(g: Graph, x: str, nodes: Nodes) -> str:
    """Returns the sum of the trees [N] for features x float64 [N, F]."""
    base = g.constant(nodes.base, np.float64)
    if not nodes.roots:  # no tree has a split: every row gets the constant
        column = g("Gather", x, g.constant(0, np.int64), axis=1)
        return g("Add", g("Sub", column, column), base)
    decided = [m is not None for m in nodes.members]
    members = [code for m in nodes.members if m is not None for code in (*m, np.nan)]
    more = {"membership_values": np.array(members, dtype=np.float64)} if members else {}
    found = g(
        "TreeEnsemble",
        x,
        domain="ai.onnx.ml",
        n_targets=1,
        aggregate_function=1,
        post_transform=0,
        tree_roots=nodes.roots,
        nodes_modes=np.where(decided, _MEMBER, _AT_MOST).astype(np.uint8),
        nodes_featureids=nodes.feature,
        nodes_splits=thresholds(nodes),
        nodes_truenodeids=[number for number, _ in nodes.true],
        nodes_trueleafs=[int(leaf) for _, leaf in nodes.true],
        nodes_falsenodeids=[number for number, _ in nodes.false],
        nodes_falseleafs=[int(leaf) for _, leaf in nodes.false],
        leaf_targetids=[0] * len(nodes.leaf),
        leaf_weights=np.array(nodes.leaf, dtype=np.float64),
        **more,
    )
    return g("Add", g("Squeeze", found, g.constant([1], np.int64)), base)


def thresholds(nodes: Nodes) -> npt.NDArray[np.float64]:
    """Returns the thresholds [S], not rounded."""
    return np.array(nodes.threshold, dtype=np.float64)
