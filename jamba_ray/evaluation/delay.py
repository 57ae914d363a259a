"""Measures how long a threat stays undetected: from a group's first malicious row to its first
alert."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from jamba_ray.evaluation.bootstrap import share
from jamba_ray.evaluation.counts import checked

MOST_LISTED = 20


def detection_delay(
    y: npt.ArrayLike,
    p: npt.ArrayLike,
    group: npt.ArrayLike | None,
    time: npt.NDArray[Any] | None,
    threshold: float,
) -> dict[str, Any] | None:
    """Returns the delays of groups (hosts, sessions) with malicious rows as strict JSON; None where
    groups or times are not known, or no group has any.

    A delay ends with the first *malicious* row that is an alert, so that a false alert on the same
    host shortens none. It is counted in rows of the group (0: the first malicious row was an alert)
    and in time: seconds where times are dates, else the unit of the column. Rows of one instant
    count in the order of the file. Quantiles are over all groups, the missed ones as never found:
    None where that is the quantile.
    """
    labels, scores = checked(y, p)
    if group is None or time is None or not labels.any():
        return None
    names, unit = np.unique(np.asarray(group).astype(str), return_inverse=True)
    order = np.lexsort((np.arange(len(unit)), time, unit))
    sorted_unit, threat = unit[order], labels[order]
    found = threat & (scores[order] >= threshold)
    at = np.asarray(time)[order]
    first = _first(sorted_unit, threat, len(names))
    alert = _first(sorted_unit, found, len(names))
    attacked = np.flatnonzero(first >= 0)
    is_found = alert[attacked] >= 0
    begun, ended = first[attacked], np.where(is_found, alert[attacked], first[attacked])
    rows = np.where(is_found, ended - begun, np.inf)
    elapsed = at[ended] - at[begun]
    is_date = np.issubdtype(elapsed.dtype, np.timedelta64)
    units = elapsed / np.timedelta64(1, "s") if is_date else elapsed.astype(np.float64)
    units = np.where(is_found, units, np.inf)
    slowest = np.lexsort((names[attacked], -rows))[:MOST_LISTED]
    return {
        "groups": len(attacked),
        "found": share(int(is_found.sum()), len(attacked)),
        "at_once": int((rows == 0).sum()),
        "unit": "s" if is_date else "of the timestamp",
        "rows": _quantiles(rows),
        "time": _quantiles(units),
        "slowest": [
            {"group": str(names[attacked[i]]), "rows": _finite(rows[i]), "time": _finite(units[i])}
            for i in slowest
        ],
    }


def _first(unit: npt.NDArray[np.int64], wanted: npt.NDArray[np.bool_], n: int) -> npt.NDArray[Any]:
    """Returns by unit the first position where ``wanted`` holds; -1: nowhere."""
    found = np.full(n, -1, dtype=np.int64)
    places = np.flatnonzero(wanted)[::-1]
    found[unit[places]] = places  # the last one written is the first place
    return found


def _quantiles(values: npt.NDArray[np.float64]) -> dict[str, float | None]:
    levels = {"median": 0.5, "p90": 0.9}
    ordered = np.sort(values)
    places = {name: int(np.ceil(level * len(values))) - 1 for name, level in levels.items()}
    return {name: _finite(ordered[place]) for name, place in places.items()}


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
