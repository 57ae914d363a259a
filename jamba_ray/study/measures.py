"""Decides what a trial's end means to the study: its objectives and the limits that it breaks."""

from __future__ import annotations

from optuna.trial import TrialState

from jamba_ray.config.direction import is_score
from jamba_ray.config.search import key_of
from jamba_ray.study.records import TrialOutcome
from jamba_ray.study.settings import StudySettings
from jamba_ray.study.trial_index import Live

_CONSTRAINT = "constraints:"
"""How Optuna's attributes of broken limits begin, which its samplers read."""


def lacking(finish: TrialOutcome, settings: StudySettings) -> str | None:
    """Returns why a complete trial cannot be ranked: a measure is no finite number; None: it can
    be."""
    if not is_score(finish.value):
        return f"its final validation {settings.objective} is {finish.value}"
    for name in [*settings.further, *(limit.measure for limit in settings.limits)]:
        if not is_score(value := _measure(finish, name, settings)):
            return f"its {name} is {'not known' if value is None else value}"
    return None


def optuna_end(
    finish: TrialOutcome, live: Live, settings: StudySettings
) -> tuple[TrialState, list[float] | None]:
    """Returns the state and the values of a trial that ended, as Optuna stores them."""
    if finish.state == "complete":
        further = [_measure(finish, name, settings) or 0.0 for name in settings.further]
        return TrialState.COMPLETE, [finish.value or 0.0, *further]
    if finish.state == "pruned":
        # As ``Study.tell`` does: the last report is a pruned trial's value.
        # Of several folds it is their mean.
        value = finish.value if finish.folds else live.value
        known = value is not None and not settings.further
        return TrialState.PRUNED, [value or 0.0] if known else None
    return TrialState.FAIL, None


def violations(finish: TrialOutcome, settings: StudySettings) -> dict[str, float]:
    """Returns the attributes that say by how much a complete trial breaks each limit."""
    return {
        f"{_CONSTRAINT}{limit}": limit.violation(_measure(finish, limit.measure, settings) or 0.0)
        for limit in settings.limits
    }


def _measure(finish: TrialOutcome, name: str, settings: StudySettings) -> float | None:
    if name == settings.objective:
        return finish.value
    return finish.metrics.get(key_of(name))
