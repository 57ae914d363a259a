"""Divides the log-odds of a score among the columns, with the model's exported file alone.

Shapley values by sampled orders of the columns, against the row of medians and commonest names: for
networks what ``predict explain=`` writes. For trees that one is exact and of another base.

Letters: N rows, C columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from jamba_ray.data.column_orders import orders
from jamba_ray.serving.column import Cells
from jamba_ray.serving.model import ServedModel

PAIRS = 8
"""Pairs of orders, as in ``predict``."""
MAX_ROWS = 200
"""Rows of one request: each costs 16 times as many scores as there are columns."""
BASE_IS = "a typical training row (medians and commonest names), by sampled orders of the columns"
_ROWS_AT_ONCE = 16_384
_NEAREST = 1e-15
"""How near to 0 or 1 a score is taken to be at most, so that its log-odds are finite."""


def reasons_of(model: ServedModel, rows: Mapping[str, Cells], k: int) -> dict[str, Any]:
    """Returns the ``k`` columns that move the score of each row [N] most, strongest first.

    Raises:
        SchemaError, ScoringError: As ``ServedModel.score`` does.
    """
    cells = model.schema.cells(rows)
    names = model.schema.names
    values, base = _contributions(model, cells, [column.input for column in model.schema.columns])
    order = np.argsort(-np.abs(values), axis=1, kind="stable")[:, :k]
    reasons = [
        [
            {"column": names[j], "value": _plain(rows[names[j]][i]), "log_odds": values[i, j]}
            for j in order[i].tolist()
            if values[i, j] != 0.0
        ]
        for i in range(len(values))
    ]
    return {"reasons": reasons, "base": base, "base_is": BASE_IS}


def _contributions(
    model: ServedModel, cells: Mapping[str, npt.NDArray[Any]], inputs: Sequence[str]
) -> tuple[npt.NDArray[np.float64], float]:
    """Returns the contributions [N, C] and the log-odds of the typical row."""
    typical = model.schema.typical()
    base = float(_log_odds(model, typical)[0])
    whole = _log_odds(model, cells)
    n, c = len(whole), len(inputs)
    values = np.zeros((n, c))
    drawn = list(orders(c, PAIRS))
    size = max(1, _ROWS_AT_ONCE // max(c - 1, 1))
    for order in drawn:
        # [C, C - 1]: whether a column is already the row's after 1 .. C - 1 steps.
        is_own = np.zeros((c, max(c - 1, 0)), dtype=bool)
        for step, column in enumerate(order[:-1]):
            is_own[column, step:] = True
        for i in range(0, n, size):
            some = slice(i, i + size)
            path = np.empty((c + 1, len(whole[some])))
            path[0], path[-1] = base, whole[some]
            if c > 1:
                mixed = {
                    name: np.where(is_own[j][:, None], cells[name][some], typical[name]).reshape(-1)
                    for j, name in enumerate(inputs)
                }
                path[1:-1] = _log_odds(model, mixed).reshape(c - 1, -1)
            values[some, list(order)] += np.diff(path, axis=0).T
    return values / max(len(drawn), 1), base


def _log_odds(model: ServedModel, cells: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[np.float64]:
    p = np.clip(model.score_cells(cells).score, _NEAREST, 1.0 - _NEAREST)
    return np.log(p) - np.log1p(-p)


def _plain(cell: Any) -> Any:
    """Returns a cell as strict JSON has it."""
    value = cell.item() if isinstance(cell, np.generic) else cell
    if isinstance(value, float) and not np.isfinite(value):
        return None if np.isnan(value) else str(value)
    return value
