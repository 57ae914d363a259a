"""Decides whether a sweep has ended: by its trials, its failures, its budget or its data."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import optuna

from jamba_ray.config.budget import Limit
from jamba_ray.study.records import State
from jamba_ray.study.settings import StudySettings
from jamba_ray.study.suggestions import Suggestions
from jamba_ray.study.termination import Termination
from jamba_ray.study.trial_index import TrialIndex

FIRST = 20
"""Without ``max_failed_trials`` a sweep ends when over half of this many first trials fail."""


class Ending:
    """Decides whether this sweep has ended and keeps the first reason that was given.

    ``begun`` is when this session began, by ``clock``; earlier ones ran for ``earlier_s`` seconds.
    """

    def __init__(
        self,
        settings: StudySettings,
        trial_index: TrialIndex,
        suggestions: Suggestions,
        clock: Callable[[], float],
        begun: float,
        earlier_s: float,
        termination: Termination | None = None,
    ) -> None:
        self._settings, self._trial_index, self._suggestions = settings, trial_index, suggestions
        self._clock, self._begun, self.earlier_s = clock, begun, earlier_s
        self._termination = termination
        self._spoilt: str | None = None
        self.said: str | None = None
        """Why no more trials are started; None: no caller was given a reason yet."""

    @property
    def elapsed_s(self) -> float:
        """Returns the seconds since this session began."""
        return self._clock() - self._begun

    def say(self, why: str | None) -> str | None:
        """Returns the reason of the end, which is ``why`` unless there is one already."""
        self.said = self.said or why
        return self.said

    def spoil(self, why: str) -> None:
        """Ends the sweep because its data changed."""
        self.say(why)
        self._spoilt = why

    def why_no_more(self) -> str | None:
        """Returns why no trial may be started or continued; None: the rules allow it."""
        s = self._settings
        if self._spoilt is not None:
            return self._spoilt
        index = self._trial_index
        n_failed = index.counts()["failed"]
        if failed := too_many_failed(index.first(FIRST), n_failed, s.max_failed_trials):
            return failed
        if late := self.out_of_time():
            return late
        if not self._trial_index.waiting and self._trial_index.n_begun >= s.n_trials:
            return f"all {s.n_trials} trials are done"
        if self._termination is not None and not index.waiting:
            return self._termination.why(index.counts()["complete"])
        return None

    def nothing_left(self) -> str | None:
        """Returns why there is no work left; None: there may be some."""
        if self._trial_index.live:
            return None
        return self.why_no_more() or self._suggestions.exhausted()

    def out_of_time(self) -> str | None:
        """Returns why the budget ends the sweep; None: it does not."""
        return out_of_time(self.earlier_s + self.elapsed_s, self._settings.limit)


def begin_session(study: optuna.Study, session: str, now: float) -> tuple[float, float]:
    """Returns when ``session`` began (``now`` where it is new), and how long earlier ones ran."""
    starts: dict[str, float] = dict(study.user_attrs.get("sessions", {}))
    if session not in starts:
        starts[session] = now
        study.set_user_attr("sessions", starts)
    begun = starts[session]
    earlier = sorted(start for start in starts.values() if start < begun)
    events = _event_times(study)
    spans = itertools.pairwise([*earlier, begun])
    # A killed session leaves no end time: its last event counts as its end.
    ended = [(a, max((t for t in events if a <= t < b), default=a)) for a, b in spans]
    return begun, sum(b - a for a, b in ended)


def _event_times(study: optuna.Study) -> list[float]:
    trials = study.get_trials(deepcopy=False)
    times = [t for trial in trials for t in (trial.datetime_start, trial.datetime_complete) if t]
    return sorted(t.timestamp() for t in times)


def too_many_failed(first: Sequence[State], n_failed: int, max_failed: int | None) -> str | None:
    """Returns why failures must end the sweep, or None.

    Args:
        first: States of the first ``FIRST`` trials, by number; fewer if there are fewer.
        n_failed: All trials that failed.
        max_failed: ``max_failed_trials``.
    """
    if max_failed is not None:
        if n_failed >= max_failed:
            return f"{n_failed} trials failed, which `max_failed_trials` does not allow"
        return None
    failed = sum(state == "failed" for state in first)
    if failed > FIRST // 2:
        return f"{failed} of the first {FIRST} trials failed"
    return None


def out_of_time(elapsed_s: float, limit: Limit | None) -> str | None:
    """Returns why the budget must end the sweep, or None."""
    if limit is None or elapsed_s < limit.seconds:
        return None
    return f"{limit.words} is used up"
