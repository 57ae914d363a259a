"""Decides whether more trials can gain anything: the regret bound of Optuna's terminator.

A Gaussian process of the complete trials bounds, with high probability, by how much the best of
them may be below the best of the space (Makarova et al. 2022). It is a function of the study and
the seed, so that a resumed sweep ends where the uninterrupted one would.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import optuna
from optuna.trial import FrozenTrial, TrialState

from jamba_ray.study.sampler_history import quality
from jamba_ray.study.sampling import trial_seed
from jamba_ray.study.settings import StudySettings

FEWEST = 20
"""Complete trials before the bound is asked for: with fewer it is a guess."""
_MOST = 200
"""The best complete trials that are modelled: the cost grows with the cube of their number."""


class Termination:
    """Says whether a sweep has nothing to gain, once for each number of complete trials."""

    def __init__(self, study: optuna.Study, settings: StudySettings) -> None:
        self._study, self._settings = study, settings
        self._found: tuple[int, str | None] = (0, None)

    def why(self, n_complete: int) -> str | None:
        """Returns why no trial should be begun any more; None: one may still gain something."""
        least = self._settings.terminate
        if least is None or n_complete < FEWEST:
            return None
        if self._found[0] != n_complete:
            trials = self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
            bound = gain_bound(trials, self._settings)
            why = None
            if bound is not None and bound < least:
                why = (
                    f"further trials would gain at most {bound:.2g} of {self._settings.objective}, "
                    f"less than `terminate` ({least:g})"
                )
            self._found = (n_complete, why)
        return self._found[1]


def gain_bound(trials: Sequence[FrozenTrial], settings: StudySettings) -> float | None:
    """Returns the most that further trials are likely to gain; None: trials have no parameter in
    common."""
    best = sorted(trials, key=lambda t: quality(t, settings.direction))[:_MOST]
    known = {t.number for t in best}
    modelled = [t for t in trials if t.number in known]
    direction = getattr(optuna.study.StudyDirection, settings.direction.upper())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is experimental, and says so each time
        from optuna.terminator import RegretBoundEvaluator

        evaluator = RegretBoundEvaluator(seed=trial_seed(settings.seed, len(trials), 0))
        try:
            return float(evaluator.evaluate(list(modelled), direction))
        except ValueError:
            return None
