"""Decides rungs with several objectives: a trial continues by its front among those at the rung.

Neither Optuna nor Ray prunes with several objectives. Here the best share of a rung is the one of
the trials on the first fronts, and of one front those whose neighbours are farther away
(``study.front.n_ahead``); the rest is successive halving as in ``study.rungs``. What is not known
at a report, such as the latency of trees that still grow, counts as the best that is known.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from optuna.trial import FrozenTrial

from jamba_ray.config.direction import Directions
from jamba_ray.study.front import as_losses, n_ahead
from jamba_ray.study.rungs import FURTHER, KEY, RungWalk

_MOST = 1000
"""The newest trials of a rung that one is compared with: fronts cost the square of their number."""


class FrontRungs(RungWalk):
    """Holds the objectives of trials at each rung and decides which trials continue.

    Args:
        first: Report step of the first rung; None: there are no rungs.
        factor: One trial in ``factor`` continues; the next rung comes at ``factor`` times the step.
        directions: Of the objectives.
        trials: Those that the study holds already.
    """

    def __init__(
        self,
        first: int | None,
        factor: int,
        directions: Directions,
        trials: Iterable[FrozenTrial] = (),
    ) -> None:
        super().__init__(first, factor)
        self._directions = directions
        self._held: defaultdict[str, dict[int, Sequence[float | None]]] = defaultdict(dict)
        """By rung's key and trial, the objectives there."""
        for trial in trials:
            self.reached(trial.number, trial.system_attrs)

    def _score(self, trial: FrozenTrial, step: int) -> Sequence[float | None]:
        further = trial.system_attrs.get(f"{FURTHER}{step}", [])
        return [trial.intermediate_values[step], *further]

    def _continues(self, trial: FrozenTrial, key: str, score: Sequence[float | None]) -> bool:
        others = [one for n, one in self._held[key].items() if n != trial.number]
        return self._goes_on(score, others)

    def reached(self, number: int, scores: Mapping[str, Any]) -> None:
        """Adds the rungs that trial ``number`` reached, once the study has stored them."""
        for key, values in scores.items():
            if key.startswith(KEY):
                self._held[key][number] = values

    def _goes_on(
        self, values: Sequence[float | None], others: Sequence[Sequence[float | None]]
    ) -> bool:
        """Says whether ``values`` are among the best 1/``factor`` of themselves and ``others``."""
        may_be_ahead = max(0, (len(others) + 1) // self._factor - 1)
        points = _known(as_losses(_numbers([*others[-_MOST:], values]), self._directions))
        return n_ahead(points[-1], points[:-1]) <= may_be_ahead


def _numbers(rows: Sequence[Sequence[float | None]]) -> list[list[float]]:
    return [[np.nan if value is None else value for value in row] for row in rows]


def _known(points: Any) -> Any:
    """Returns points with what is not known in them as the best that is."""
    for column in points.T:
        unknown = np.isnan(column)
        column[unknown] = 0.0 if unknown.all() else column[~unknown].min()
    return points
