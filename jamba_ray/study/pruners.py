"""Decides which trials are stopped early, as Optuna's pruners do, from what the study holds.

Each pruner keeps what it needs sorted in memory and builds it again from the trials of a study, so
that a resumed sweep decides as the uninterrupted one would (``tests/study/test_pruners.py``). The
study's first trials (``study.first_trials``) are judged by none and no other is held against them.
"""

from __future__ import annotations

import binascii
import itertools
import math
from bisect import insort
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from jamba_ray.config.direction import Direction, badness
from jamba_ray.errors import one_line
from jamba_ray.study.optuna_private import storage_of
from jamba_ray.study.recovery import STUDY_NAME
from jamba_ray.study.rungs import ORIGIN, Rungs
from jamba_ray.study.study_view import view

MEDIAN_OF = 5
"""Complete trials before ``Median`` stops any, as Optuna has it."""


class Pruner(Protocol):
    """Declares what a study asks of a pruner."""

    def judge(self, trial: FrozenTrial) -> tuple[bool, dict[str, Any]]:
        """Returns whether a trial's newest report prunes it, and the rungs that it reached;
        changes nothing."""
        ...

    def reached(self, number: int, scores: Mapping[str, Any]) -> None:
        """Adds the rungs that trial ``number`` reached, once the study has stored them."""
        ...

    def ended(self, trial: FrozenTrial) -> None:
        """Takes note of a trial that ended and is in its final state."""
        ...


class Brackets:
    """Decides as Optuna's ``HyperbandPruner``: rungs that begin later in each further bracket.

    Args:
        first: Report step of the first rung of the first bracket.
        last: Report step at which a trial ends.
        factor: See ``Rungs``.
        direction: Of the objective.
        trials: Those that the study holds already.
    """

    def __init__(
        self,
        first: int,
        last: int,
        factor: int,
        direction: Direction,
        trials: Iterable[FrozenTrial] = (),
    ) -> None:
        n = math.floor(math.log(max(1.0, last / first), factor)) + 1
        self._shares = [math.ceil(n * factor ** (n - 1 - i) / (n - i)) for i in range(n)]
        """By bracket: of how many in ``sum(shares)`` trials it is."""
        held: list[list[FrozenTrial]] = [[] for _ in range(n)]
        for trial in trials:
            held[self.bracket(trial.number)].append(trial)
        self._rungs = [
            Rungs(first * factor**i, factor, direction, inside) for i, inside in enumerate(held)
        ]

    def bracket(self, number: int) -> int:
        """Returns the bracket of a trial, which its number decides."""
        place = binascii.crc32(f"{STUDY_NAME}_{number}".encode()) % sum(self._shares)
        ends = itertools.accumulate(self._shares)
        return next(bracket for bracket, end in enumerate(ends) if place < end)

    def judge(self, trial: FrozenTrial) -> tuple[bool, dict[str, float]]:
        """Returns the decision of the trial's bracket."""
        return self._rungs[self.bracket(trial.number)].judge(trial)

    def reached(self, number: int, scores: Mapping[str, float]) -> None:
        """Adds the rungs that trial ``number`` reached to its bracket."""
        self._rungs[self.bracket(number)].reached(number, scores)

    def ended(self, trial: FrozenTrial) -> None:
        """Takes note of a trial that ended: rungs hold what it scored already."""


class Median:
    """Decides as Optuna's ``MedianPruner``: stops a trial whose best report is worse than the
    median of the complete trials at its step.

    Args:
        first: Report step from which on trials are judged.
        direction: Of the objective.
        trials: Those that the study holds already.
    """

    def __init__(
        self, first: int, direction: Direction, trials: Iterable[FrozenTrial] = ()
    ) -> None:
        self._first, self._direction = first, direction
        self._n_complete = 0
        self._badness: defaultdict[int, list[float]] = defaultdict(list)
        """By step, of complete trials, the best value first."""
        for trial in trials:
            self.ended(trial)

    def judge(self, trial: FrozenTrial) -> tuple[bool, dict[str, float]]:
        """Returns whether the trial's best report is worse than the median at its newest step."""
        step = trial.last_step
        if ORIGIN in trial.user_attrs or step is None or step < self._first:
            return False, {}
        others = self._badness.get(step, [])
        if self._n_complete < MEDIAN_OF or not others:
            return False, {}
        best = min(badness(v, self._direction) for v in trial.intermediate_values.values())
        return best > float(np.percentile(others, 50)), {}

    def reached(self, number: int, scores: Mapping[str, float]) -> None:
        """Does nothing: there are no rungs."""

    def ended(self, trial: FrozenTrial) -> None:
        """Adds the reports of a complete trial."""
        if trial.state == TrialState.COMPLETE and ORIGIN not in trial.user_attrs:
            self._n_complete += 1
            for step, value in trial.intermediate_values.items():
                insort(self._badness[step], badness(value, self._direction))


class Patience:
    """Decides as Optuna's ``PatientPruner`` alone: stops a trial whose newest ``patience`` + 1
    reports are all worse than its best one before."""

    def __init__(self, patience: int, direction: Direction) -> None:
        self._patience, self._direction = patience, direction

    def judge(self, trial: FrozenTrial) -> tuple[bool, dict[str, float]]:
        """Returns whether the trial stopped improving, which its own reports tell."""
        reports = sorted(trial.intermediate_values.items())
        if ORIGIN in trial.user_attrs or len(reports) <= self._patience + 1:
            return False, {}
        bad = [badness(value, self._direction) for _, value in reports]
        return min(bad[: -self._patience - 1]) < min(bad[-self._patience - 1 :]), {}

    def reached(self, number: int, scores: Mapping[str, float]) -> None:
        """Does nothing: there are no rungs."""

    def ended(self, trial: FrozenTrial) -> None:
        """Does nothing: no trial is held against another."""


class Foreign:
    """Asks a pruner of a plug-in, made anew for each decision; what it notes on a trial is stored.

    One that raises stops no trial, and the study notes it once.
    """

    def __init__(self, make: Callable[[], Any], study: optuna.Study) -> None:
        self._make, self._study = make, study

    def judge(self, trial: FrozenTrial) -> tuple[bool, dict[str, Any]]:
        """Returns the decision of the plug-in's pruner, and its notes."""
        if ORIGIN in trial.user_attrs or trial.last_step is None:
            return False, {}
        shown = view(self._study, storage_of(self._study))
        try:
            prunes = bool(self._make().prune(shown, trial))
        except Exception as error:
            self._tell(
                f"The plug-in's pruner failed ({one_line(error)}) and stopped no trial then."
            )
            return False, {}
        return prunes, dict(getattr(storage_of(shown), "notes", {}))

    def reached(self, number: int, scores: Mapping[str, float]) -> None:
        """Does nothing: the study has stored them, and that is what the pruner reads."""

    def ended(self, trial: FrozenTrial) -> None:
        """Does nothing: the pruner reads the study."""

    def _tell(self, sentence: str) -> None:
        kept: list[str] = self._study.user_attrs.get("notes", [])
        if sentence not in kept:
            self._study.set_user_attr("notes", [*kept, sentence])
