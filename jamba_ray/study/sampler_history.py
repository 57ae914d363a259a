"""Selects the trials that a sampler learns from: of a long study the best and the newest.

TPE estimates two densities, one over the best trials (25 at most) and one over all others, whose
weights fall with their age. Its cost grows with the number of trials, and that of a Gaussian
process with the cube of it (``tests/benchmarks/ten_thousand_trials.md``). So the sampler sees the
best trials, the newest ones and the running ones. The best are ranked as TPE ranks them, so that
its first density is the same as from all trials.

TPE counts a running trial as a bad one (constant liar), so that it proposes something else. To the
trial's end that would be wrong: trials pruned at a rung would count as better than those that
passed it and still run, and with many trials at a time these are most of what there is to learn
from. So from its first rung on a running trial is shown as a pruned one with the values reported so
far; TPE ranks it by its last step and then by its last value.
"""

from __future__ import annotations

import copy
from bisect import insort
from collections.abc import Iterable, Sequence

from optuna.trial import FrozenTrial, TrialState

from jamba_ray.config.direction import Direction, badness
from jamba_ray.study.rungs import FURTHER, came_to_a_rung

NEWEST = {"tpe": 1000, "gp": 250}
"""By sampler: most finished trials that it learns from, beside the best. Other samplers learn from
none, or need the first trial."""
_BEST = 25
"""The most that TPE counts as good, however many trials there are."""
_LEARNT_FROM = {
    "tpe": (TrialState.COMPLETE, TrialState.PRUNED),
    "gp": (TrialState.COMPLETE,),
}


class SamplerHistory:
    """Keeps the numbers of the trials that a sampler learns from, updated with every trial.

    Args:
        sampler: ``sampler.name``.
        startup: ``sampler.n_startup_trials``: never fewer are shown.
        direction: Of the objective.
        first_rung: Its report step; None: there are no rungs.
        notes_rungs: Whether trials note the rungs that they reach.
    """

    def __init__(
        self,
        sampler: str,
        startup: int,
        direction: Direction,
        first_rung: int | None = None,
        *,
        notes_rungs: bool = True,
    ) -> None:
        self._newest = max(NEWEST[sampler], startup) if sampler in NEWEST else None
        self._states = _LEARNT_FROM.get(sampler, ())
        self._direction, self._first_rung = direction, first_rung
        self._notes_rungs = notes_rungs
        self._running: set[int] = set()
        self._finished: list[int] = []
        self._ranked: list[tuple[int, int, float, int]] = []

    def note(self, trial: FrozenTrial) -> None:
        """Adds a trial that began, or one that ended and is in its final state."""
        if trial.state == TrialState.RUNNING:
            self._running.add(trial.number)
            return
        self._running.discard(trial.number)
        if trial.state in self._states:
            insort(self._finished, trial.number)
            insort(self._ranked, quality(trial, self._direction))
            del self._ranked[_BEST:]

    def of(self, trials: Sequence[FrozenTrial]) -> list[FrozenTrial] | None:
        """Returns those of all ``trials`` (by number) to show; None: all of them, unchanged."""
        if self._newest is None:
            return None
        is_long = len(self._finished) > self._newest
        judged = set[int]()
        if TrialState.PRUNED in self._states:
            judged = {
                n
                for n in self._running
                if came_to_a_rung(trials[n], self._first_rung, noted=self._notes_rungs)
            }
        if not (is_long or judged):
            return None
        shown: Iterable[int] = range(len(trials))
        if is_long:
            best = (number for *_, number in self._ranked)
            shown = sorted({*self._finished[-self._newest :], *self._running, *best})
        return [as_pruned(trials[n]) if n in judged else trials[n] for n in shown]


def quality(trial: FrozenTrial, direction: Direction) -> tuple[int, int, float, int]:
    """Returns a sort key, the best first: complete trials by value, then pruned ones by step and
    value."""
    if trial.state == TrialState.COMPLETE:
        return (0, 0, badness((trial.values or [0.0])[0], direction), trial.number)
    step = trial.last_step
    if step is None:
        return (1, 1, 0.0, trial.number)
    return (1, -step, badness(trial.intermediate_values[step], direction), trial.number)


def as_pruned(trial: FrozenTrial) -> FrozenTrial:
    """Returns a running trial as it would be if it were pruned now."""
    shown = copy.copy(trial)
    shown.state = TrialState.PRUNED
    return shown


def as_infeasible(trial: FrozenTrial) -> FrozenTrial:
    """Returns a pruned trial as a complete one that breaks a limit, by more the earlier it ended.

    Genetic samplers, and all with several objectives, know no pruned trials: so they rank them
    behind complete ones.
    """
    step = trial.last_step
    if trial.state != TrialState.PRUNED or step is None:
        return trial
    shown = copy.copy(trial)
    shown.state = TrialState.COMPLETE
    further = trial.system_attrs.get(f"{FURTHER}{step}", [])
    shown.values = [trial.intermediate_values[step], *(value or 0.0 for value in further)]
    shown.system_attrs = {**trial.system_attrs, "constraints:pruned": 1.0 / step}
    return shown
