"""Measures what a model is worth after an attacker changed the malicious rows: ``robustness``.

``robustness`` is the average precision after each malicious row was changed, within the limits of
``data.mutable``, so that its score falls most. Benign rows stay as they are, and so do the
thresholds.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import expit  # type: ignore[import-untyped]

from jamba_ray.data.evasion import Attacker
from jamba_ray.data.prepared import Rows
from jamba_ray.evaluation.bootstrap import intervals
from jamba_ray.evaluation.evasion import descend, needed, search
from jamba_ray.inference.predictor import Predictor

MOST_THREATS = 500
"""Malicious rows that are attacked; with more, as large a share of the benign ones is left out."""
_RANKING = "average_precision"


def robustness(
    predictor: Predictor,
    rows: Rows,
    attacker: Attacker | None,
    group: npt.NDArray[np.str_] | None = None,
) -> dict[str, Any] | None:
    """Returns strict JSON: ``value``, ``low``, ``high``, the value without an attack, and the
    columns that the attacker used; None where the rows lack a class.

    ``group``: the names [N] of groups over which the interval is.
    """
    begun = time.monotonic()
    threat = rows.y == 1.0
    if attacker is None or rows.raw is None or not threat.any() or threat.all():
        return None
    index = _some(threat)
    y, attacked = rows.y[index], threat[index]
    x_num, x_cat = rows.x_num[index], rows.x_cat[index]
    raw = np.asarray(rows.raw)[index][attacked]
    own_num, own_cat = x_num[attacked], x_cat[attacked]
    n_scored = 0

    def margin(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        nonlocal n_scored
        n_scored += len(values)
        return predictor.log_odds_of(attacker.applied(own_num, values), own_cat)

    before = predictor.log_odds_of(x_num, x_cat)
    slope = predictor.slope
    start, steps = None, 0
    if slope is not None:
        features = [one.feature for one in attacker.limits]

        def along(scaled: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
            nonlocal steps
            steps += len(scaled)
            x = np.array(own_num)
            x[:, features] = scaled
            return slope(x, own_cat)[:, features]

        start, _ = descend(margin, along, attacker, raw)
    best, value = search(margin, attacker, raw, start=start)
    best, value = needed(margin, raw, best, value)
    after = before.copy()
    after[attacked] = value
    names = None if group is None else group[index]
    clean = intervals(y, expit(before), group=names)[_RANKING]
    found = intervals(y, expit(after), group=names)[_RANKING]
    return {
        **found,
        "without_attack": clean["value"],
        "rows": len(index),
        "threats": int(attacked.sum()),
        "columns": _used(attacker, raw, best),
        "attack": "search" if slope is None else "gradient and search",
        "scored": n_scored + steps,
        "seconds": time.monotonic() - begun,
    }


def _some(threat: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Returns rows with at most ``MOST_THREATS`` threats and the share of threats of all rows."""
    rng = np.random.default_rng(0)
    threats, benign = np.flatnonzero(threat), np.flatnonzero(~threat)
    if len(threats) > MOST_THREATS:
        n_benign = max(1, round(len(benign) * MOST_THREATS / len(threats)))
        threats = rng.choice(threats, MOST_THREATS, replace=False)
        benign = rng.choice(benign, n_benign, replace=False)
    return np.sort(np.concatenate([threats, benign])).astype(np.int64)


def _used(
    attacker: Attacker, raw: npt.NDArray[np.float64], best: npt.NDArray[np.float64]
) -> list[dict[str, Any]]:
    """Returns, for each column, the share of malicious rows in which the attacker changed it and
    the median change there, the most used first."""
    found = []
    with np.errstate(invalid="ignore"):
        change = np.where(np.isfinite(raw), best - raw, 0.0)
    for j, name in enumerate(attacker.columns):
        moved = change[:, j][change[:, j] != 0.0]
        found.append(
            {
                "column": name,
                "share": float(len(moved) / len(raw)),
                "median_change": float(np.median(moved)) if len(moved) else 0.0,
            }
        )
    return sorted(found, key=lambda one: -float(str(one["share"])))
