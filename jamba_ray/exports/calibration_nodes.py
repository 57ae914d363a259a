"""Adds the calibration of a model: the map from scores to probabilities that was saved with it."""

from __future__ import annotations

import numpy as np

from jamba_ray.evaluation.calibration import Calibration
from jamba_ray.exports.graph import Graph
from jamba_ray.exports.preprocessing_nodes import interpolated

_EPS = float(np.finfo(np.float64).eps)


def probabilities(g: Graph, score: str, calibration: Calibration) -> str:
    """Returns the probabilities [N] of scores [N], as ``Calibration`` computes them."""
    of = calibration.parameters
    if calibration.method == "none":
        return score
    if calibration.method == "isotonic":
        x, y = (np.asarray(of[name], dtype=np.float64) for name in ("x", "y"))
        if len(x) == 1:
            x, y = np.array([x[0], x[0] + 1.0]), np.array([y[0], y[0]])
        axis = g.constant([1], np.int64)
        return g("Squeeze", interpolated(g, g("Unsqueeze", score, axis), [x], [y]), axis)
    inside = g("Clip", score, _number(g, _EPS), _number(g, 1.0 - _EPS))
    low = g("Log", inside)
    high = g("Neg", g("Log", g("Sub", _number(g, 1.0), inside)))
    z = g("Add", low, high)
    if calibration.method == "temperature":
        moved = g("Mul", _number(g, of["scale"][0]), z)
    elif calibration.method == "platt":
        scaled = g("Mul", _number(g, of["slope"][0]), z)
        moved = g("Add", scaled, _number(g, of["offset"][0]))
    else:
        parts = [g("Mul", _number(g, of[n][0]), v) for n, v in (("a", low), ("b", high))]
        moved = g("Add", g("Add", *parts), _number(g, of["c"][0]))
    return g("Sigmoid", moved)


def _number(g: Graph, value: float) -> str:
    return g.constant(value, np.float64)
