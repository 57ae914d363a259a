"""Checks the times and the number of rows of a window: stale, of the future, too many, too few."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from jamba_ray.data.times import TimeValues, span
from jamba_ray.watching.findings import Finding

_AHEAD_S = 300.0
"""Seconds that clocks may be apart."""
FEWEST_WINDOWS = 5
"""Earlier windows without which nothing is said of the number of rows."""
_FAR = 4.0
"""Robust standard deviations from which a number of rows is unusual."""
_LEAST_SPREAD = 0.1
"""Of the logarithm of the number of rows: less is not told from none."""


def of_times(
    times: TimeValues | None,
    fault: str | None,
    now_s: float,
    max_age_s: float | None,
    until: str | None,
) -> list[Finding]:
    """Returns what is wrong with the times of a window; ``until``: the newest of the reference."""
    if fault is not None:
        return [Finding("clock", "warning", f"The times cannot be read: {fault}")]
    if times is None or not len(times) or times.dtype.kind != "M":
        return []
    found = []
    seconds = times.astype("M8[ms]").astype(np.int64) / 1000.0
    ahead = float((seconds > now_s + _AHEAD_S).mean())
    if ahead > 0.0:
        newest = span(times)
        sentence = (
            f"{ahead:.2%} of the rows are of the future (up to {newest[1] if newest else 0} UTC): "
            "a clock or a time zone is wrong."
        )
        found.append(Finding("clock", "critical", sentence, effect=ahead))
    begun = _instant(until)
    if begun is not None:
        old = float((seconds < begun).mean())
        if 0.0 < old < 1.0:
            sentence = (
                f"{old:.2%} of the rows are older than the newest reference row ({until}), the "
                "others newer: a clock was wrong, or old rows were sent again."
            )
            found.append(Finding("clock", "warning", sentence, effect=old))
    age = now_s - float(seconds.max())
    if max_age_s is not None and age > max_age_s:
        sentence = f"The newest row is {_long(age)} old; at most {_long(max_age_s)} is allowed."
        found.append(Finding("stale", "critical", sentence))
    return found


def of_volume(rows: int, before: Sequence[int]) -> list[Finding]:
    """Returns that the window has unusually many or few rows, beside those before."""
    if len(before) < FEWEST_WINDOWS:
        return []
    logs = np.log(np.maximum(np.asarray(before[-50:], dtype=np.float64), 1.0))
    middle = float(np.median(logs))
    spread = max(1.4826 * float(np.median(np.abs(logs - middle))), _LEAST_SPREAD)
    away = (float(np.log(max(rows, 1))) - middle) / spread
    if abs(away) < _FAR:
        return []
    sentence = (
        f"{rows:,} rows are {'many more' if away > 0 else 'far fewer'} than usual: the "
        f"{len(before)} windows before have about {np.exp(middle):,.0f}."
    )
    return [Finding("volume", "warning", sentence)]


def per_day(count: float, times: TimeValues | None) -> float | None:
    """Returns how many a day ``count`` are; None where the times say no span."""
    if times is None or times.dtype.kind != "M" or len(times) < 2:
        return None
    seconds = (times.max() - times.min()).astype("m8[s]").astype(np.int64)
    return float(count) / (float(seconds) / 86_400.0) if seconds > 0 else None


def over_time(
    times: TimeValues | None, score: Any, flagged: Any, n: int = 24
) -> list[dict[str, Any]]:
    """Returns rows, alerts and the mean score of ``n`` equal spans of time that have rows."""
    if times is None or times.dtype.kind != "M" or len(times) < 2 or times.max() == times.min():
        return []
    at = (times - times.min()) / (times.max() - times.min())
    place = np.minimum((np.asarray(at, dtype=np.float64) * n).astype(np.int64), n - 1)
    found = []
    for i in np.unique(place):
        here = place == i
        first = span(times[here])
        found.append(
            {
                "from": first[0] if first else None,
                "rows": int(here.sum()),
                "alerts": int(flagged[here].sum()),
                "mean_score": float(score[here].mean()),
            }
        )
    return found


def _instant(text: str | None) -> float | None:
    try:
        return None if text is None else float(np.datetime64(text, "ms").astype(np.int64)) / 1000.0
    except ValueError:
        return None


def _long(seconds: float) -> str:
    for unit, size in (("days", 86_400.0), ("hours", 3_600.0), ("minutes", 60.0)):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} seconds"
