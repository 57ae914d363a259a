"""Decides ASHA's rungs as Optuna does, from sorted values instead of a look at every trial.

``optuna.pruners.SuccessiveHalvingPruner`` keeps what a trial scored at a rung as an attribute of
the trial, and collects and sorts those of all trials for each decision: at 10,000 trials that is
most of what the study does. Here the values of each rung stay sorted, and a decision is a bisection
(``tests/study/test_rungs.py`` holds the two to be equal). The attributes are Optuna's own, so that
the study's file is complete and any version of Optuna can continue it.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from optuna.trial import FrozenTrial

from jamba_ray.config.direction import Direction, badness

KEY = "completed_rung_"
"""Optuna's name of a rung's attribute, without its number."""
FURTHER = "further:"
"""Attribute of a trial with several objectives, with a report's step: those after the first."""
ORIGIN = "origin"
"""Attribute of a trial of ``study.first_trials``: it is outside the rungs, so that it is trained to
its end and the others are not held against it."""


class RungWalk:
    """Walks a trial up the rungs that its newest report reached; subclasses compare it at each.

    Args:
        first: Report step of the first rung; None: there are no rungs.
        factor: One trial in ``factor`` continues; the next rung comes at ``factor`` times the step.
    """

    def __init__(self, first: int | None, factor: int) -> None:
        self._first, self._factor = first, factor

    def judge(self, trial: FrozenTrial) -> tuple[bool, dict[str, Any]]:
        """Returns whether a trial's newest report prunes it, and the rungs that it reached.

        It changes nothing: a rung counts once the study has stored it.
        """
        reached: dict[str, Any] = {}
        step = trial.last_step
        if self._first is None or step is None or ORIGIN in trial.user_attrs:
            return False, reached
        score, rung = self._score(trial, step), 0
        while f"{KEY}{rung}" in trial.system_attrs:
            rung += 1
        while step >= self._first * self._factor**rung:
            key = f"{KEY}{rung}"
            reached[key] = score
            if not self._continues(trial, key, score):
                return True, reached
            rung += 1
        return False, reached

    def ended(self, trial: FrozenTrial) -> None:
        """Takes note of a trial that ended: rungs hold what it scored already."""

    def _score(self, trial: FrozenTrial, step: int) -> Any:
        """Returns what a rung holds of the report at ``step``."""
        raise NotImplementedError

    def _continues(self, trial: FrozenTrial, key: str, score: Any) -> bool:
        """Says whether a trial with this score goes on beyond the rung of ``key``."""
        raise NotImplementedError


class Rungs(RungWalk):
    """Holds the scores of trials at each rung and decides which trials continue.

    Args:
        first: Report step of the first rung; None: there are no rungs.
        factor: One trial in ``factor`` continues; the next rung comes at ``factor`` times the step.
        direction: Of the objective.
        trials: Those that the study holds already.
    """

    def __init__(
        self,
        first: int | None,
        factor: int,
        direction: Direction,
        trials: Iterable[FrozenTrial] = (),
    ) -> None:
        super().__init__(first, factor)
        self._direction = direction
        self._badness: defaultdict[str, list[float]] = defaultdict(list)
        """By rung's key, the best value first."""
        for trial in trials:
            for key, value in trial.system_attrs.items():
                self.note(key, value)

    def _score(self, trial: FrozenTrial, step: int) -> float:
        return trial.intermediate_values[step]

    def _continues(self, trial: FrozenTrial, key: str, score: float) -> bool:
        return self._goes_on(score, self._badness[key])

    def note(self, key: str, value: float) -> None:
        """Adds a trial's attribute to the scores if it is a rung's; ignores any other."""
        if key.startswith(KEY):
            insort(self._badness[key], badness(value, self._direction))

    def reached(self, number: int, scores: Mapping[str, float]) -> None:
        """Adds the rungs that trial ``number`` reached, once the study has stored them."""
        for key, value in scores.items():
            self.note(key, value)

    def _goes_on(self, value: float, others: list[float]) -> bool:
        """Says whether ``value`` is in the best 1/``factor`` of itself and the ``others``.

        ``others`` are sorted by badness, the best first. While there are too few, the best one
        continues. A tie continues.
        """
        may_be_better = max(0, (len(others) + 1) // self._factor - 1)
        return bisect_left(others, badness(value, self._direction)) <= may_be_better


def came_to_a_rung(trial: FrozenTrial, first: int | None, *, noted: bool = True) -> bool:
    """Says whether a trial came as far as the ``first`` rung, whatever the decision was.

    ``noted``: trials note the rungs that they reach; other pruners judge from a step on.
    """
    if ORIGIN in trial.user_attrs or not noted:
        return first is not None and (trial.last_step or 0) >= first
    return f"{KEY}0" in trial.system_attrs
