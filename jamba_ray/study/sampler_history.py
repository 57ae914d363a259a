"""The trials that a sampler learns from: of a long study the best and the newest.

TPE estimates two densities, one over the best trials (25 at most) and one over all others, whose
weights fall with their age; what it costs grows with their number (0.43 s a suggestion at 10,000
trials), and a Gaussian process costs the cube of it (17 s at 1,200 complete trials; 2 CPU cores,
2026-11-21). So they are shown the best trials that there are, the newest ones, and those that run.
The best are ranked as TPE ranks them: its first density is the one it would have from all trials.

To TPE a trial that runs is a bad one (constant liar), so that it proposes something else. Kept up
to the trial's end, that would be wrong: what a rung pruned would be held to be better than what
passed it and runs still, and where many train at a time that is most of what there is to learn
from. So from its first rung on a running trial is shown with what it has reported, as a pruned one,
which TPE ranks by how far it came and then by its last value.
"""

from __future__ import annotations

import copy
from bisect import insort
from collections.abc import Iterable, Sequence

from optuna.trial import FrozenTrial, TrialState

from jamba_ray.config.direction import Direction, badness
from jamba_ray.study.rungs import came_to_a_rung

NEWEST = {"tpe": 1000, "gp": 250}
"""By sampler: finished trials that it learns from beside the best. The others have no use for any,
or need the first trial."""
_BEST = 25
"""As many as TPE takes for good, however many trials there are."""
_LEARNT_FROM = {
    "tpe": (TrialState.COMPLETE, TrialState.PRUNED),
    "gp": (TrialState.COMPLETE,),
}


class SamplerHistory:
    """Kept in step with a study, whose trials alone decide what it holds.

    Args:
        sampler: ``sampler.name``.
        startup: ``sampler.n_startup_trials``: never fewer are shown.
        direction: Of the objective.
    """

    def __init__(self, sampler: str, startup: int, direction: Direction) -> None:
        self._newest = max(NEWEST[sampler], startup) if sampler in NEWEST else None
        self._states = _LEARNT_FROM.get(sampler, ())
        self._direction = direction
        self._running: set[int] = set()
        self._finished: list[int] = []
        self._ranked: list[tuple[int, int, float, int]] = []

    def note(self, trial: FrozenTrial) -> None:
        """A trial began, or it ended and is in its final state."""
        if trial.state == TrialState.RUNNING:
            self._running.add(trial.number)
            return
        self._running.discard(trial.number)
        if trial.state in self._states:
            insort(self._finished, trial.number)
            insort(self._ranked, self._rank(trial))
            del self._ranked[_BEST:]

    def of(self, trials: Sequence[FrozenTrial]) -> list[FrozenTrial] | None:
        """The part of ``trials`` (all, by number) to be shown, by number; None: all as they are."""
        if self._newest is None:
            return None
        is_long = len(self._finished) > self._newest
        judged = set[int]()
        if TrialState.PRUNED in self._states:
            judged = {n for n in self._running if came_to_a_rung(trials[n])}
        if not (is_long or judged):
            return None
        shown: Iterable[int] = range(len(trials))
        if is_long:
            best = (number for *_, number in self._ranked)
            shown = sorted({*self._finished[-self._newest :], *self._running, *best})
        return [as_pruned(trials[n]) if n in judged else trials[n] for n in shown]

    def _rank(self, trial: FrozenTrial) -> tuple[int, int, float, int]:
        """Complete trials by value, then pruned ones by how far they came and their last value."""
        if trial.state == TrialState.COMPLETE:
            return (0, 0, badness(trial.value or 0.0, self._direction), trial.number)
        step = trial.last_step
        if step is None:
            return (1, 1, 0.0, trial.number)
        return (1, -step, badness(trial.intermediate_values[step], self._direction), trial.number)


def as_pruned(trial: FrozenTrial) -> FrozenTrial:
    """A running trial as it would be if it ended now."""
    shown = copy.copy(trial)
    shown.state = TrialState.PRUNED
    return shown
