"""Says in a sentence, and as strict JSON, what a threshold promises of rows to come, or why not."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy.stats import binom  # type: ignore[import-untyped]

from jamba_ray.data.shift import APART, SURELY_APART
from jamba_ray.data.times import span
from jamba_ray.evaluation.counts import checked
from jamba_ray.evaluation.goal import Goal, operating_point, threshold_for
from jamba_ray.evaluation.guarantee import (
    Bounded,
    Guaranteed,
    Masks,
    Rate,
    guaranteed,
    periods,
    rows_needed,
    upper_bound,
)

By = Literal["group", "time"]
PROVABLE = ("max_fpr", "min_recall")
"""Goals whose rate rests on the rows of one class, so that it can be bounded."""
_DISPROVED_AT = 0.05
_MOST_NAMED = 6


@dataclass(frozen=True)
class Promise:
    """Holds what is promised of a threshold, or why nothing is."""

    rate: Rate
    limit: float
    confidence: float
    by: By | None
    rows: str
    """The rows that it rests on, in words."""
    chose_the_model: bool
    """Whether the same rows chose the model before, which flatters the rate."""
    bounds: tuple[Bounded, ...] = ()
    left_out: tuple[str, ...] = ()
    reason: str | None = None
    """Why nothing is promised; None: the promise holds under its condition."""

    @property
    def what(self) -> str:
        """Returns what is promised, as a clause."""
        each = {
            None: "",
            "group": f" in each of {_counted(len(self.bounds), 'group')}",
            "time": f" in each of {_counted(len(self.bounds), 'period')}",
        }[self.by if self.bounds else None]
        if self.rate == "miss":
            return f"at least {percent(1.0 - self.limit)} of the threats are found{each}"
        return f"at most {percent(self.limit)} of the benign rows are flagged{each}"

    @property
    def sentence(self) -> str:
        """Returns the promise with its condition, or why there is none."""
        if self.reason is not None:
            return f"No promise that {self.what}: {self.reason}."
        text = (
            f"Promise: {self.what} with {percent(self.confidence)} confidence, if the rows to come "
            f"are like {self.rows}."
        )
        if self.left_out:
            names = ", ".join(self.left_out[:_MOST_NAMED])
            more = len(self.left_out) - _MOST_NAMED
            text += (
                f" Too few rows for a promise: {names}{f' and {more} more' if more > 0 else ''}."
            )
        if self.chose_the_model:
            text += (
                " These rows chose the model too, which flatters it; data.split.calibration=0.1 in "
                "the next run holds out others for the promise."
            )
        return text

    def withdrawn(self, reason: str) -> Promise:
        """Returns the promise taken back; what it rested on stays."""
        return replace(self, reason=reason)

    def to_json(self) -> dict[str, Any]:
        """Returns strict JSON."""
        return {
            "holds": self.reason is None,
            "rate": self.rate,
            "limit": self.limit,
            "confidence": self.confidence,
            "by": self.by,
            "rows": self.rows,
            "chose_the_model": self.chose_the_model,
            "bounds": [bound.to_json() for bound in self.bounds],
            "left_out": list(self.left_out),
            "sentence": self.sentence,
        }


def promised(
    y: npt.ArrayLike,
    p: npt.ArrayLike,
    goal: Goal,
    confidence: float,
    *,
    part: str,
    by: By | None = None,
    group: npt.ArrayLike | None = None,
    time: npt.NDArray[Any] | None = None,
) -> tuple[float, Promise]:
    """Chooses a threshold that keeps ``goal`` on rows to come, and says what is promised.

    Where the rows prove no threshold, it is the one that meets the goal on these rows, as of
    ``threshold_for``, and the promise says what can be promised instead. ``part``: 'val', or the
    name of a part that chose nothing before. Raises as ``threshold_for`` does.
    """
    labels, scores = checked(y, p)
    rate: Rate = "miss" if goal.name == "min_recall" else "fpr"
    limit = 1.0 - goal.value if rate == "miss" else goal.value
    masks: Masks | None = None
    if by == "group":
        names = np.asarray(group).astype(str)
        masks = {str(name): names == name for name in np.unique(names)}
    elif by == "time" and time is not None:
        wanted = labels if rate == "miss" else ~labels
        masks = {
            " to ".join(span(time[mask]) or ("", "")): mask
            for mask in periods(time, wanted, limit, confidence)
        }
    found = guaranteed(labels, scores, rate, limit, confidence, masks)
    what = f"the {len(labels):,} {_PARTS.get(part, part)} rows"
    if (ends := span(time)) is not None:
        what += f" ({ends[0]} to {ends[1]})"
    promise = Promise(rate, limit, confidence, by, what, part == "val")
    if found.threshold is not None:
        promise = replace(promise, bounds=found.bounds, left_out=found.left_out)
        return found.threshold, promise
    cut = threshold_for(labels, scores, goal)
    return cut, promise.withdrawn(_too_few(labels, scores, promise, found, cut))


def _too_few(
    labels: npt.NDArray[np.bool_],
    scores: npt.NDArray[np.float64],
    promise: Promise,
    found: Guaranteed,
    cut: float,
) -> str:
    """Says why no threshold is proven, how many rows it takes, and what can be promised."""
    chosen = labels if promise.rate == "miss" else ~labels
    n = int(np.count_nonzero(chosen))
    wrong = int(np.count_nonzero(chosen & ((scores >= cut) != labels)))
    bound = _up(upper_bound(wrong, n, promise.confidence))
    can = (
        f"at least {percent(1.0 - bound)} found"
        if promise.rate == "miss"
        else f"at most {percent(bound)} flagged"
    )
    kind = "threat" if promise.rate == "miss" else "benign row"
    needed = rows_needed(promise.limit, promise.confidence)
    of_part = "" if promise.by is None else f" of one {_EACH[promise.by]}"
    if promise.limit <= 0.0:
        return (
            f"no number of rows proves that; ask for less, for example 0.99. Provable here: {can}"
        )
    if found.most < needed:
        return (
            f"that takes at least {needed:,} {kind}s{of_part}, but there "
            f"{'is' if found.most == 1 else 'are'} {found.most:,}; what {_counted(n, kind)} can "
            f"promise of this threshold is {can}"
        )
    return (
        f"no threshold that flags a row is proven to keep it by {_counted(n, kind)}; what they can "
        f"promise of this threshold is {can}"
    )


def shift_reason(auc: float, low: float) -> str | None:
    """Says why a shift takes a promise back; None where there is none.

    ``auc`` is that of a classifier which tells the rows chosen on from newer ones, ``low`` the
    lower end of its 95 % interval.
    """
    # If the whole of it lay along the score, 1 % of false positives could become 2.4 % at 0.6.
    if auc < APART or low < SURELY_APART:
        return None
    return (
        f"a classifier tells newer rows from those it rests on (AUC {auc:.2f}), so the rows to "
        "come are not like them; choose again on newer labelled rows, or let data.split.kind=time "
        "hold out the newest"
    )


def of_drawn(
    y: npt.ArrayLike,
    p: npt.ArrayLike,
    goal: Goal,
    confidence: float,
    *,
    part: str,
    found: Mapping[str, Any],
    to_come: str,
) -> tuple[float, Promise]:
    """Chooses a threshold on the rows that importance weights drew to be like those to come.

    ``y`` and ``p`` are of these rows alone; ``found`` is ``data.to_come.Drawn.to_json`` with the
    ``auc`` of the shift, ``to_come`` 'test' or 'newest'. Raises as ``promised`` does.
    """
    threshold, promise = promised(y, p, goal, confidence, part=part)
    newer = "the test rows" if to_come == "test" else "the newest rows"
    rows = (
        f"{newer}. A classifier tells these from the others (AUC {found['auc']:.2f}), so the "
        f"promise rests on {found['drawn']:,} of the {found['rows']:,} {_PARTS.get(part, part)} "
        f"rows, drawn by importance weights to be like them ({found['effective']:,.0f} effective "
        "rows; Park et al. 2022), and supposes that the same features mean the same there"
    )
    return threshold, replace(promise, rows=rows)


def disproof(
    promise: Mapping[str, Any],
    y: npt.ArrayLike,
    p: npt.ArrayLike,
    threshold: float,
    *,
    where: str,
    group: npt.ArrayLike | None = None,
) -> str | None:
    """Says that labelled rows refuse a promise (``Promise.to_json``); None where they do not.

    The test is exact, at 5 %. Of a promise by group the rows of its groups count.
    """
    labels, scores = checked(y, p)
    wanted = labels if promise["rate"] == "miss" else ~labels
    if promise["by"] == "group" and group is not None:
        names = [bound["name"] for bound in promise["bounds"]]
        wanted &= np.isin(np.asarray(group).astype(str), names)
    n, limit = int(np.count_nonzero(wanted)), float(promise["limit"])
    wrong = int(np.count_nonzero(wanted & ((scores >= threshold) != labels)))
    if not n or float(binom.sf(wrong - 1, n, limit)) > _DISPROVED_AT:
        return None
    point = operating_point(labels[wanted], scores[wanted], threshold)
    of = point["recall" if promise["rate"] == "miss" else "fpr"]
    done = "the threats are found" if promise["rate"] == "miss" else "the benign rows are flagged"
    return (
        f"on {where} {percent(of['value'])} of {done} ({percent(of['low'])} to "
        f"{percent(of['high'])}), so these rows are not like those that it rests on"
    )


_PARTS = {"val": "validation"}
_EACH = {"group": "group", "time": "period"}


def percent(share: float) -> str:
    """Formats a share with three digits, near 1 with four: ``1 %``, ``8.57 %``, ``99.97 %``."""
    return f"{100.0 * share:.{4 if share > 0.99 else 3}g} %"


def _up(share: float) -> float:
    """Returns a share rounded up to two digits, so that what is said is proven."""
    if share <= 0.0:
        return 0.0
    unit = 10.0 ** (math.floor(math.log10(share)) - 1)
    return min(1.0, math.ceil(share / unit - 1e-9) * unit)


def _counted(n: int, what: str) -> str:
    return f"{n:,} {what}{'' if n == 1 else 's'}"
