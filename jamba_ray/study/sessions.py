"""The sessions of a study: each driver that worked on it, and for how long."""

from __future__ import annotations

import itertools

import optuna


def begin_session(study: optuna.Study, session: str, now: float) -> tuple[float, float]:
    """When ``session`` began (``now`` where it is new), and the seconds that earlier ones ran."""
    starts: dict[str, float] = dict(study.user_attrs.get("sessions", {}))
    if session not in starts:
        starts[session] = now
        study.set_user_attr("sessions", starts)
    begun = starts[session]
    earlier = sorted(start for start in starts.values() if start < begun)
    events = _event_times(study)
    spans = itertools.pairwise([*earlier, begun])
    # A session ended with its last event: nobody wrote down when it was killed.
    ended = [(a, max((t for t in events if a <= t < b), default=a)) for a, b in spans]
    return begun, sum(b - a for a, b in ended)


def _event_times(study: optuna.Study) -> list[float]:
    trials = study.get_trials(deepcopy=False)
    times = [t for trial in trials for t in (trial.datetime_start, trial.datetime_complete) if t]
    return sorted(t.timestamp() for t in times)
