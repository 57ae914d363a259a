"""Writes a model of any family, or a team, as one ONNX file: raw columns in, score and alert out.

Preprocessing, calibration and the named thresholds are inside.

Letters: N rows, F features (numbers first, then codes).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from jamba_ray.checkpoints import Snapshot
from jamba_ray.data import Preprocessor
from jamba_ray.data.prepared import FeatureSchema
from jamba_ray.errors import ConfigError
from jamba_ray.estimators.arrays.target_means import TargetMeans
from jamba_ray.estimators.estimator import Columns, saved_in
from jamba_ray.evaluation.calibration import Calibration
from jamba_ray.exports import network_nodes, tree_nodes
from jamba_ray.exports.calibration_nodes import probabilities
from jamba_ray.exports.graph import Graph
from jamba_ray.exports.preprocessing_nodes import features, side_by_side
from jamba_ray.exports.trees import Nodes, of_arrays, of_lightgbm
from jamba_ray.inference.scorer import Network, config_of, scorer_of
from jamba_ray.inference.team import parts_of

_FORESTS = ("random_forest", "extra_trees")
_BOOSTED = ("xgboost", "catboost")


@dataclass(frozen=True)
class Answer:
    """Names the output [N] of one model, float64."""

    name: str
    kind: Literal["log_odds", "share"]


def onnx_bytes(
    snapshot: Snapshot,
    preprocessor: Preprocessor,
    cuts: Mapping[str, float],
    calibration: Calibration | None,
    metadata: Mapping[str, Any],
    version: str,
) -> bytes:
    """Returns the file.

    Its outputs are ``score``, ``alert`` (of the cut named ``default``), ``alert_<name>`` of every
    other cut, and ``probability`` where there is a calibration. ``metadata`` is written as JSON.

    Raises:
        ConfigError: A family cannot be exported; the sentence says why.
    """
    g = Graph()
    x_num, x_cat = features(g, preprocessor)
    answer = _Model(g, preprocessor.schema, x_num, x_cat).answer(snapshot)
    score = answer.name if answer.kind == "share" else g("Sigmoid", answer.name)
    g.output("score", score, "double")
    for name, cut in cuts.items():
        alert = g("Cast", g("GreaterOrEqual", score, g.constant(cut, np.float64)), to=7)  # int64
        g.output("alert" if name == "default" else f"alert_{name}", alert, "int64")
    if calibration is not None:
        g.output("probability", probabilities(g, score, calibration), "double")
    held = {f"jamba_ray.{key}": json.dumps(value) for key, value in metadata.items()}
    return g.to_bytes(held, version)


class _Model:
    """Adds the nodes of models that share their features."""

    def __init__(
        self, g: Graph, schema: FeatureSchema, x_num: str | None, x_cat: str | None
    ) -> None:
        self._g, self._schema, self._x_num, self._x_cat = g, schema, x_num, x_cat
        self._columns = Columns(len(schema.numeric), schema.cardinalities)
        self._matrix: str | None = None

    def answer(self, snapshot: Snapshot) -> Answer:
        """Returns the answer of a model or a team."""
        g, parts = self._g, parts_of(snapshot)
        if not parts:
            return self._of_one(snapshot)
        total = None
        for part in parts:
            weight = g.constant(part.weight, np.float64)
            one = g("Mul", weight, self._log_odds(self._of_one(part.snapshot)))
            total = one if total is None else g("Add", total, one)
        assert total is not None
        return Answer(total, "log_odds")

    def _of_one(self, snapshot: Snapshot) -> Answer:
        config = config_of(snapshot)
        family = config.model.name
        saved = saved_in(snapshot.tensors, snapshot.documents)
        try:
            if family == "lightgbm":
                text = snapshot.blobs["model.txt"]
                return self._trees(of_lightgbm(text, self._schema.input_dim), self._all())
            if family == "logistic":
                return self._logistic(saved.arrays["weights"])
            if family in _FORESTS:
                return self._forest(of_arrays(saved.arrays, saved.document["base"]), saved.arrays)
            if family in _BOOSTED:
                nodes = of_arrays(saved.arrays, saved.document["base"])
                return self._trees(nodes, self._with_means(saved.arrays["target_means"]))
            scorer = scorer_of(snapshot, config, self._schema)
            if isinstance(scorer, Network):
                return self._network(scorer)
            raise ValueError("only its own library knows how it scores")
        except ValueError as error:
            raise ConfigError(
                [
                    f"`format=onnx` needs a model that can be written as ONNX, but {family!r} "
                    f"cannot: {error}. Choose `format=pt`, or another trial."
                ]
            ) from error

    def _network(self, scorer: Network) -> Answer:
        logits = network_nodes.logits(
            self._g, scorer.module, self._schema, self._x_num, self._x_cat
        )
        return Answer(self._g("Cast", logits, to=11), "log_odds")  # float64

    def _trees(self, nodes: Nodes, x: str) -> Answer:
        return Answer(tree_nodes.sums(self._g, x, nodes), "log_odds")

    def _forest(self, nodes: Nodes, arrays: Mapping[str, Any]) -> Answer:
        g, n_trees = self._g, len(arrays["starts"]) - 1
        mean = g("Div", tree_nodes.sums(g, self._all(), nodes), g.constant(float(n_trees)))
        return Answer(g("Clip", mean, g.constant(0.0), g.constant(1.0)), "share")

    def _logistic(self, weights: Any) -> Answer:
        g, n = self._g, self._columns.n_numeric
        total = g.constant(float(weights[-1]))
        if self._x_num is not None:
            x = g("Cast", self._x_num, to=11)  # float64
            product = g("MatMul", x, g.constant(weights[:n, None]))
            total = g("Add", g("Squeeze", product, g.constant([1], np.int64)), total)
        place = n
        for i, size in enumerate(self._columns.cardinalities):
            table = g.constant(weights[place : place + size])
            total = g("Add", total, g("Gather", table, self._code(i)))
            place += size
        return Answer(total, "log_odds")

    def _log_odds(self, answer: Answer) -> str:
        """Returns log-odds, as ``Estimator.log_odds`` does for shares."""
        if answer.kind == "log_odds":
            return answer.name
        g, one = self._g, self._g.constant(1.0)
        p = g("Clip", answer.name, g.constant(1e-9), g.constant(1.0 - 1e-9))
        return g("Sub", g("Log", p), g("Log", g("Sub", one, p)))

    def _all(self) -> str:
        """Returns all features side by side, float64 [N, F]."""
        if self._matrix is None:
            given = [one for one in (self._x_num, self._x_cat) if one is not None]
            parts = [self._g("Cast", one, to=11) for one in given]
            self._matrix = parts[0] if len(parts) == 1 else self._g("Concat", *parts, axis=1)
        return self._matrix

    def _with_means(self, means: Any) -> str:
        """Returns all features, and beside them the target means of the categories."""
        g, place, added = self._g, 0, []
        for feature in TargetMeans(self._columns, means).features:
            i = feature - self._columns.n_numeric
            size = self._columns.cardinalities[i]
            table = g.constant(means[place : place + size].astype(np.float64))
            added.append(g("Gather", table, self._code(i)))
            place += size
        return g("Concat", self._all(), side_by_side(g, added), axis=1) if added else self._all()

    def _code(self, i: int) -> str:
        """Returns the codes [N] of one categorical feature."""
        assert self._x_cat is not None
        return self._g("Gather", self._x_cat, self._g.constant(i, np.int64), axis=1)
