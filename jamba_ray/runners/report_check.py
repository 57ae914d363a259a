"""Checks what training code reports: a trial with an invalid report fails, and only that trial."""

from __future__ import annotations

import numbers
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jamba_ray.errors import TrialError
from jamba_ray.training import Decision, Member, Outcome, Report

Reporter = Callable[[Sequence[Report]], Sequence[Decision]]


def checked(report: Reporter, key: str) -> Reporter:
    """Wraps ``report`` to raise TrialError for anything but a report of the metric ``key``.

    NaN and infinities pass: the study handles them.
    """

    def look(reports: Sequence[Report]) -> Sequence[Decision]:
        for one in reports if isinstance(reports, Sequence) else [reports]:
            if mistake := _mistake(one, key):
                raise TrialError(mistake)
        return report(reports)

    return look


def by_trial(members: Sequence[Member], outcomes: Any) -> dict[int, Outcome | BaseException]:
    """Returns trial -> its outcome, or a TrialError if training code returned none for it."""
    told = outcomes if isinstance(outcomes, Sequence) else []
    found: dict[int, Outcome | BaseException] = {
        o.trial: _judged(o) for o in told if isinstance(o, Outcome)
    }
    silent = TrialError("the training code ended without saying how the trial did")
    return {m.trial: found.get(m.trial, silent) for m in members}


def is_number(value: Any) -> bool:
    """Says whether ``value`` is one number (True and False are none)."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _judged(outcome: Outcome) -> Outcome | BaseException:
    if outcome.value is not None and not is_number(outcome.value):
        return TrialError(f"the training code gave {outcome.value!r} as value, which is no number")
    return outcome


def _mistake(report: Any, key: str) -> str | None:
    if not isinstance(report, Report):
        return f"the training code reported {report!r}, which is no report"
    if not isinstance(report.metrics, Mapping) or key not in report.metrics:
        return f"the training code reported no `{key}`"
    value = report.metrics[key]
    return None if is_number(value) else f"`{key}` was reported as {value!r}, which is no number"
