"""Says what validation rows led to expect of the test, and on what that stands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from jamba_ray.data.adversary import odds, tell_apart
from jamba_ray.data.prepared import PreparedData, Rows
from jamba_ray.data.shift import APART, SURELY_APART
from jamba_ray.data.shift_check import features_of, some_features
from jamba_ray.evaluation import Interval
from jamba_ray.evaluation.expected import (
    KNOWN_FOR,
    MOST_UNLIKE,
    Expected,
    ToCome,
    expected,
    unlike_share,
)

MOST_ROWS = 6_000
"""Rows of a side that are compared."""
FEWEST_ROWS = 100
"""Rows of a side below which no shift is measured."""


def expectation(
    data: PreparedData, p: npt.NDArray[np.float64], best: Mapping[str, Any], objective: str
) -> dict[str, Any] | None:
    """Returns ``best.expected`` of ``summary.json``: the interval of the objective on the test, or
    on rows to come where there is none.

    ``p`` [N] are the probabilities of validation rows, ``best`` the metrics. None where validation
    defines no interval.
    """
    metric = objective if objective in KNOWN_FOR else "average_precision"
    val = best["val"].get(metric)
    if val is None or "low" not in val:
        return None
    test = data.tests.get("test")
    if test is not None and len(np.unique(test.y)) < 2:
        test = None
    auc = _apart(data, test)
    new = 0.0 if test is None else new_threats(data, test)
    differs = auc is not None and auc[0] >= APART and auc[1] >= SURELY_APART
    to_come = ToCome(
        n_threats=None if test is None else int(test.y.sum()),
        n_benign=None if test is None else int((test.y == 0).sum()),
        weights=_weights(data, test) if differs and test is not None and _by_chance(data) else None,
        unlike=unlike_share(0.0 if auc is None else auc[1], new),
    )
    found = expected(data.val.y, p, metric, to_come)
    if found.interval is not None and not _by_chance(data):
        # Of held-out groups validation's own interval is over groups, which are fewer than rows.
        of_groups = Interval(
            value=found.interval["value"],
            low=min(found.interval["low"], val["low"]),
            high=max(found.interval["high"], val["high"]),
        )
        found = replace(found, interval=of_groups)
    value = None if test is None else float(best["test"][metric]["value"])
    interval = found.interval
    return {
        "metric": metric,
        "part": None if test is None else "test",
        "low": None if interval is None else interval["low"],
        "high": None if interval is None else interval["high"],
        "shift": None if auc is None else {"roc_auc": auc[0], "low": auc[1]},
        "new_threats": new,
        "unlike": to_come.unlike,
        "effective_rows": found.effective,
        "reason": found.reason,
        "holds": None
        if interval is None or value is None
        else bool(interval["low"] <= value <= interval["high"]),
        "sentence": _sentence(metric, found, auc, new, data, test, value),
    }


def new_threats(data: PreparedData, test: Rows) -> float:
    """Returns the share of the test's threats whose group training never had, beyond the share of
    such threats in validation."""
    if data.train.group is None or test.group is None:
        return 0.0
    known = np.unique(data.train.group)
    shares = [
        float((~np.isin(rows.group[rows.y == 1], known)).mean())
        for rows in (test, data.val)
        if rows.group is not None and (rows.y == 1).any()
    ]
    return max(0.0, shares[0] - (shares[1] if len(shares) > 1 else 0.0))


def _kind(data: PreparedData) -> str:
    return str(data.overview.get("split", {}).get("kind", "random"))


def _by_chance(data: PreparedData) -> bool:
    return _kind(data) == "random"


def _apart(data: PreparedData, test: Rows | None) -> tuple[float, float] | None:
    """Returns (ROC AUC, its lower end) of telling rows to come from those that validation is like;
    None: not measured."""
    shift = data.overview.get("shift")
    if shift is None:
        return None
    if not _by_chance(data):
        if test is None or min(len(test), len(data.val)) < FEWEST_ROWS:
            return None
        x = np.concatenate(
            [some_features(test, MOST_ROWS, 1), some_features(data.val, MOST_ROWS, 2)]
        )
        told = tell_apart(x, np.arange(len(x)) < min(len(test), MOST_ROWS))
        return told.auc, told.low
    part = "newest" if test is None else "test"
    for one in shift["comparisons"]:
        if one["part"] == part:
            return float(one["roc_auc"]["value"]), float(one["roc_auc"]["low"])
    return None


def _weights(data: PreparedData, test: Rows) -> npt.NDArray[np.float64]:
    here, there = some_features(test, MOST_ROWS, 1), some_features(data.train, MOST_ROWS, 2)
    return odds(here, there, features_of(data.val))


def _sentence(
    metric: str,
    found: Expected,
    auc: tuple[float, float] | None,
    new: float,
    data: PreparedData,
    test: Rows | None,
    value: float | None,
) -> str:
    name = metric.replace("_", " ")
    drawn = {"random": "drawn by chance", "time": "the newest ones", "group": "of other groups"}
    rows = f"{len(data.val):,} validation rows ({drawn.get(_kind(data), _kind(data))})"
    interval = found.interval
    ends = "" if interval is None else f"{interval['low']:.4f} to {interval['high']:.4f}"
    if test is not None:
        why = _shift(data, auc, new)
        if interval is None:
            mend = ""
            if _by_chance(data) and new > MOST_UNLIKE:
                mend = "; data.split.kind=group validates on new ones"
            return (
                f"{rows} cannot tell the test's {name}: {found.reason} ({why}){mend}. "
                f"{value:.4f} was found."
            )
        return (
            f"By {rows}, {name} {ends} was to be expected of the {len(test):,} test rows ({why}); "
            f"{value:.4f} was found."
        )
    if auc is None:
        why = "no later rows are there to measure a shift with"
        return f"The interval of {name} stands on {rows}: it holds for rows like them, and {why}."
    if auc[1] <= SURELY_APART:
        return f"The interval of {name} stands on {rows}: the newest rows are not told from others."
    away = f"the newest fifth is told from older rows with ROC AUC {auc[0]:.3f}"
    if interval is None:
        return f"{rows} cannot tell the {name} of rows to come: {away}."
    return f"Of rows to come expect {name} {ends}, judged by {rows}: {away}."


def _shift(data: PreparedData, auc: tuple[float, float] | None, new: float) -> str:
    said = []
    if auc is not None and auc[1] > SURELY_APART:
        said.append(f"told from validation's with ROC AUC {auc[0]:.3f}")
    if new > 0.0:
        said.append(f"{new:.1%} of its threats are of groups that training never had")
    if said:
        return "; ".join(said)
    if auc is not None:
        return "no shift was found"
    if "test" in data.overview.get("split", {}).get("cut", ()):
        return "drawn by chance as these"
    return "a shift was not looked for"
