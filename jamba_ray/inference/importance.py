"""Measures which columns a trained model relies on, by its own objective."""

from __future__ import annotations

from typing import Any

from jamba_ray.data import Rows
from jamba_ray.evaluation.metrics import METRICS
from jamba_ray.evaluation.permutation import permutation_importance
from jamba_ray.inference.contributions import owners_of
from jamba_ray.inference.predictor import Predictor


def feature_importance(predictor: Predictor, rows: Rows, threshold: float) -> dict[str, Any] | None:
    """Returns strict JSON: ``metric``, ``value``, ``rows`` and ``groups`` of columns.

    None where it is not defined; see ``evaluation.permutation``.
    """
    metric = predictor.config.objective
    if metric not in METRICS:
        metric = "average_precision"
    names = predictor.preprocessing.columns
    found = permutation_importance(
        predictor.score_matrices,
        rows.x_num,
        rows.x_cat,
        rows.y,
        owners_of(predictor.preprocessing),
        metric,
        threshold,
        predictor.n_models,
    )
    if found is None:
        return None
    return {
        "metric": metric,
        "value": found.value,
        "rows": found.rows,
        "groups": [
            {
                "columns": [names[column] for column in columns],
                "drop": drop["value"],
                "low": drop["low"],
                "high": drop["high"],
            }
            for columns, drop in found.groups
        ],
    }
