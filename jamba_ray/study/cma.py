"""Proposes by CMA-ES, with the state of its evolution derived from the study's trials.

Optuna's ``CmaEsSampler`` keeps that state as a pickle in the study, which nothing here may load
(a run folder may come from a stranger). Each trial notes its generation instead, and the evolution
is told the generations again, in order: it learns from ranks alone, so pruned trials take part,
behind complete ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import FrozenTrial, TrialState

from jamba_ray.config.direction import Direction
from jamba_ray.study.optuna_private import Transform, note_on_trial, transform_of
from jamba_ray.study.proposal import distribution
from jamba_ray.study.rungs import ORIGIN
from jamba_ray.study.sampler_history import quality

if TYPE_CHECKING:
    import cmaes  # type: ignore[import-untyped]
    import optuna

    from jamba_ray.config.space import SearchSpace

_FEWEST = 4
"""Trials of a generation without which the evolution's weights are not defined."""
GENERATION = "cma:generation"
"""Attribute of a trial that this sampler proposed."""


class Cma(BaseSampler):
    """Draws the numbers that every trial has from one evolution, and the rest at random.

    Args:
        space: The sweep's.
        direction: Of the objective.
        seed: Of this trial and draw; what the evolution learns draws nothing.
        popsize: Trials of a generation; None: 4 + 3 ln(parameters).
    """

    def __init__(
        self,
        space: SearchSpace,
        direction: Direction,
        *,
        seed: int,
        popsize: int | None,
    ) -> None:
        drawn = {p.path: distribution(p.leaf) for p in space.parameters if not p.leaf.when}
        self._numbers: dict[str, BaseDistribution] = {
            path: one
            for path, one in drawn.items()
            if isinstance(one, FloatDistribution | IntDistribution) and not one.single()
        }
        self._direction = direction
        self._popsize = None if popsize is None else max(popsize, _FEWEST)
        self._seed = seed
        self._random = RandomSampler(seed=seed)

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Returns the numbers that exist in every trial."""
        return self._numbers

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Returns a draw of the newest generation, and notes on the trial which one that is."""
        if not search_space:
            return {}
        transform = transform_of(search_space)
        evolution = self._evolution(transform, study.get_trials(deepcopy=False))
        note_on_trial(study, trial, GENERATION, evolution.generation)
        return dict(transform.untransform(evolution.ask()))

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Returns a random value for what the evolution does not model."""
        return self._random.sample_independent(study, trial, param_name, param_distribution)

    def _evolution(self, transform: Transform, trials: list[FrozenTrial]) -> cmaes.CMA:
        """Returns the evolution after each whole generation among ``trials``."""
        import cmaes

        bounds = transform.bounds
        mean, sigma, cov = self._start(transform, trials), 1.0 / 6.0, None
        if earlier := [t for t in trials if t.number < 0 and self._numbers.keys() <= {*t.params}]:
            ranked = sorted(earlier, key=lambda t: quality(t, self._direction))
            known = [(self._point(transform, t), float(rank)) for rank, t in enumerate(ranked)]
            mean, sigma, cov = cmaes.get_warm_start_mgd(known)
        evolution = cmaes.CMA(
            mean=mean,
            sigma=max(sigma, 1e-3),
            cov=cov,
            bounds=bounds,
            n_max_resampling=10 * len(bounds),
            seed=self._seed,
            population_size=self._popsize,
        )
        ended: dict[int, list[FrozenTrial]] = {}
        for trial in trials:
            if trial.state in (TrialState.COMPLETE, TrialState.PRUNED) and (
                (generation := trial.system_attrs.get(GENERATION)) is not None
            ):
                ended.setdefault(generation, []).append(trial)
        while len(members := ended.get(evolution.generation, [])) >= evolution.population_size:
            # Those that ended first, so that later ones do not change what was learnt.
            first = sorted(members, key=lambda t: (t.datetime_complete, t.number))
            told = sorted(
                first[: evolution.population_size], key=lambda t: quality(t, self._direction)
            )
            evolution.tell(
                [(self._point(transform, t), float(rank)) for rank, t in enumerate(told)]
            )
        return evolution

    def _point(self, transform: Transform, trial: FrozenTrial) -> Any:
        return transform.transform({path: trial.params[path] for path in self._numbers})

    def _start(self, transform: Transform, trials: list[FrozenTrial]) -> Any:
        """Returns where the evolution begins: the configuration as composed, if it was tried."""
        for trial in trials:
            if trial.user_attrs.get(ORIGIN) == "defaults" and self._numbers.keys() <= set(
                trial.params
            ):
                return self._point(transform, trial)
        return transform.bounds.mean(axis=1)
