"""Says what the labelled rows of a window prove: rates with intervals, and of a promise whether it
is refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from jamba_ray.evaluation import intervals
from jamba_ray.evaluation.asked import stratified_rates
from jamba_ray.evaluation.goal import operating_point
from jamba_ray.evaluation.sequential import Wager, rate_interval
from jamba_ray.evaluation.two_samples import FEWEST_ROWS, compare_bins, numeric_bins
from jamba_ray.watching.window import Window

_FAIR_AT = 0.01
"""Chance that labelled rows are called no fair draw of the window although they are."""


@dataclass(frozen=True)
class Labelled:
    """Holds what the labels of a window say."""

    rows: int
    threats: int
    how: str
    """``all``, ``some`` (taken as drawn by chance) or ``asked``."""
    metrics: Mapping[str, Mapping[str, Any]]
    any_time: Mapping[str, Mapping[str, Any]]
    """Rates over all windows so far, with intervals that hold whenever they are read."""
    wager: Wager | None
    refuted: bool
    unfair_p: float | None
    """Where labelled rows are no fair draw, the chance that they are one nevertheless."""

    def to_json(self) -> dict[str, Any]:
        """Returns strict JSON."""
        return {
            "rows": self.rows,
            "threats": self.threats,
            "how": self.how,
            "metrics": {name: dict(one) for name, one in self.metrics.items()},
            "any_time": {name: dict(one) for name, one in self.any_time.items()},
            "promise": None
            if self.wager is None
            else {**self.wager.to_json(), "refuted": self.refuted},
            "unfair_p": self.unfair_p,
        }


def labelled(
    window: Window,
    threshold: float,
    promise: Mapping[str, Any] | None,
    before: Mapping[str, Any] | None,
    alpha: float,
) -> Labelled | None:
    """Judges the labelled rows; None where no row has a label.

    ``promise``: of the threshold (``Promise.to_json``); ``before``: what ``state_of`` returned for
    the window before, of the same threshold.
    """
    if window.label is None or not (has := ~np.isnan(window.label)).any():
        return None
    y = window.label[has] == 1
    p = window.score[has]
    flagged = p >= threshold
    how = "asked" if window.asked is not None else "all" if has.all() else "some"
    unfair = _unfair(p, window.score) if how == "some" else None
    if unfair is not None:
        return Labelled(len(y), int(y.sum()), how, {}, {}, _wager(promise, before), False, unfair)
    chance: npt.NDArray[np.float64] | float = 1.0
    least = None
    if window.asked is not None:
        asked = {name: cells[has] for name, cells in window.asked.items()}
        chance, least = asked["ask_chance"], float(asked["ask_least"].min())
        strata = asked["ask_stratum"].astype(np.int64)
        metrics: Mapping[str, Any] = dict(
            stratified_rates(y, flagged, strata, asked["ask_rows"].astype(np.int64))
        )
    else:
        metrics = _metrics(y, p, threshold)
    wager = _wager(promise, before)
    if wager is not None:
        of_class = y if promise is not None and promise["rate"] == "miss" else ~y
        wrong = (flagged != y)[of_class]
        chances = chance[of_class] if isinstance(chance, np.ndarray) else chance
        wager = wager.after(wrong, chances, least)
    any_time = {} if how == "asked" else _any_time(y, flagged, before)
    refuted = wager is not None and wager.refutes(alpha)
    return Labelled(len(y), int(y.sum()), how, metrics, any_time, wager, refuted, None)


def state_of(found: Labelled, threshold: float) -> dict[str, Any]:
    """Returns what the next window needs to continue the test, as strict JSON."""
    return {
        "threshold": threshold,
        "wager": None if found.wager is None else found.wager.to_json(),
        "counts": {name: [one["hits"], one["rows"]] for name, one in found.any_time.items()},
    }


def _wager(promise: Mapping[str, Any] | None, before: Mapping[str, Any] | None) -> Wager | None:
    if promise is None or not 0.0 < float(promise["limit"]) < 1.0:
        return None
    if before is not None and before.get("wager"):
        found = Wager.from_json(before["wager"])
        if found.limit == float(promise["limit"]):
            return found
    return Wager(float(promise["limit"]))


def _metrics(
    y: npt.NDArray[np.bool_], p: npt.NDArray[np.float64], threshold: float
) -> dict[str, Any]:
    point = operating_point(y, p, threshold)
    rates = {name: point[name] for name in ("fpr", "recall", "precision") if point[name]}
    if len(np.unique(y)) < 2:
        return rates
    found = intervals(y, p, threshold, n=400)
    names = ("average_precision", "roc_auc", "f1")
    ranked: dict[str, Any] = {name: found[name] for name in names if name in found}
    return {**ranked, **rates}


def _any_time(
    y: npt.NDArray[np.bool_], flagged: npt.NDArray[np.bool_], before: Mapping[str, Any] | None
) -> dict[str, dict[str, Any]]:
    counts = (before or {}).get("counts", {})
    found = {}
    for name, of_class in (("fpr", ~y), ("recall", y)):
        had = counts.get(name, [0, 0])
        hits = int(had[0]) + int(flagged[of_class].sum())
        rows = int(had[1]) + int(of_class.sum())
        interval = rate_interval(hits, rows)
        if interval is not None:
            found[name] = {**interval, "hits": hits, "rows": rows}
    return found


def _unfair(p: npt.NDArray[np.float64], all_of: npt.NDArray[np.float64]) -> float | None:
    """Returns the p-value where the labelled rows do not score as all rows do."""
    if min(len(p), len(all_of)) < FEWEST_ROWS:
        return None
    here, there, n_bins = numeric_bins(p, all_of)
    found = compare_bins(here, there, n_bins, ordered=True)
    return found.p if found.p < _FAIR_AT else None
