"""Makes the sampler and the rungs of a sweep from their configuration sections.

A sampler is made anew for each suggestion, seeded by (sweep's seed, trial number, draw). Its state
is then a function of the study alone, so that a killed and resumed sweep proposes the same
parameters as an uninterrupted one.
"""

from __future__ import annotations

import importlib.util
import itertools
import math
import random
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import optuna
from optuna.samplers import (
    BaseSampler,
    GPSampler,
    NSGAIISampler,
    QMCSampler,
    RandomSampler,
    TPESampler,
)
from optuna.trial import FrozenTrial

from jamba_ray.config.direction import Direction
from jamba_ray.config.plugins import PRUNERS, SAMPLERS
from jamba_ray.config.search import PrunerSection, SamplerSection
from jamba_ray.config.space import Params, Scalar, SearchSpace
from jamba_ray.errors import ConfigError
from jamba_ray.study.front_rungs import FrontRungs
from jamba_ray.study.optuna_private import survivors
from jamba_ray.study.pruners import Brackets, Foreign, Median, Patience, Pruner
from jamba_ray.study.rungs import Rungs

if TYPE_CHECKING:
    from jamba_ray.study.settings import StudySettings

NOTE_GENERATIONS = ("cmaes", "nsga2")
"""Samplers of ours whose notes on a trial are stored with it; those of plug-ins are too."""
POPULATION = 16
"""Trials of a generation of ``nsga2``, where it is not given."""
MAX_LISTED = 20_000
"""Spaces of at most so many parameter sets are enumerated: none is tried twice."""


def make_sampler(
    section: SamplerSection,
    space: SearchSpace,
    direction: Direction,
    *,
    seed: int,
    number: int,
    draw: int,
    several: bool = False,
) -> BaseSampler:
    """Returns the sampler for one draw of one trial; ``grid`` has none (see ``grid_order``).

    ``several``: the study has several objectives.
    """
    own = trial_seed(seed, number, draw)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        if section.name in SAMPLERS:
            made: BaseSampler = SAMPLERS[section.name](seed=own)
            return made
        if section.name == "tpe":
            conditional = any(p.leaf.when for p in space.parameters)
            # With several objectives the good trials are a whole front: jointly modelled they cost
            # 0.05 of the hypervolume of ``tests/benchmarks/front_pruning.md``.
            jointly = section.multivariate and not several
            return TPESampler(
                n_startup_trials=section.n_startup_trials,
                multivariate=jointly,
                # Conditional parameters are modelled jointly within each branch.
                group=jointly and conditional,
                # Trials before their first rung count as bad, so that runners and members of a
                # stack spread out; for later ones see ``study.sampler_history``.
                constant_liar=True,
                seed=own,
            )
        if section.name == "gp":
            return GPSampler(
                seed=own,
                independent_sampler=RandomSampler(seed=own),
                n_startup_trials=section.n_startup_trials,
                deterministic_objective=False,
                warn_independent_sampling=False,
            )
        if section.name == "cmaes":
            from jamba_ray.study.cma import Cma

            return Cma(space, direction, seed=own, popsize=section.population_size)
        if section.name == "nsga2":
            return Nsga2(population_size=section.population_size or POPULATION, seed=own)
        if section.name == "qmc":
            # One sequence for the whole sweep; the study counts how far it has got.
            return QMCSampler(
                seed=trial_seed(seed, 0, 0),
                scramble=True,
                independent_sampler=RandomSampler(seed=own),
                warn_asynchronous_seeding=False,
                warn_independent_sampling=False,
            )
        return RandomSampler(seed=own)


class Nsga2(NSGAIISampler):
    """Proposes as Optuna's sampler, but derives the parents of a generation from the trials alone.

    Optuna keeps them as an attribute of the study, by ids of trials, and looks them up by recursion
    over all generations where they are missing.
    """

    def get_parent_population(self, study: optuna.Study, generation: int) -> list[FrozenTrial]:
        """Returns the parents of ``generation``, the best of all generations before."""
        parents: list[FrozenTrial] = []
        for one in range(generation):
            both = self.get_population(study, one) + parents
            parents = survivors(self, study, both)
        return parents


def check_installed(section: SamplerSection) -> None:
    """Refuses a sampler whose package is missing, before anything starts.

    Raises:
        ConfigError: With the command that installs it.
    """
    if section.name == "cmaes" and importlib.util.find_spec("cmaes") is None:
        raise ConfigError(
            [
                "`sampler.name` 'cmaes' needs the package cmaes, which is not installed. "
                "Run `pip install 'jamba-ray[cmaes]'`, or choose another sampler."
            ]
        )


def stores_notes(sampler: str) -> bool:
    """Says whether what this sampler notes on a trial is stored with it."""
    return sampler in NOTE_GENERATIONS or sampler in SAMPLERS


def make_pruner(
    settings: StudySettings,
    trials: Sequence[FrozenTrial] = (),
    study: optuna.Study | None = None,
) -> Pruner:
    """Returns the pruner of a ``study`` that holds ``trials``; the first rung is after ``min_rows``
    rows."""
    section, direction = settings.pruner, settings.direction
    if study is not None and section.name in PRUNERS:
        return Foreign(PRUNERS[section.name], study)
    first = first_rung(section, settings.report_rows)
    if settings.further:
        return FrontRungs(first, section.reduction_factor, settings.directions, trials)
    if section.name == "hyperband" and first is not None:
        last = settings.n_reports
        return Brackets(first, last, section.reduction_factor, direction, trials)
    if section.name == "median" and first is not None:
        return Median(first, direction, trials)
    if section.name == "patient":
        return Patience(section.patience, direction)
    return Rungs(first, section.reduction_factor, direction, trials)


def first_rung(section: PrunerSection, report_rows: int) -> int | None:
    """Returns the report step of the first rung, or from which on ``median`` judges: three where
    ``min_rows`` is not given; None: there is none.

    After two of sixteen reports trials scored too much alike
    (``tests/benchmarks/stack_quality.md``).
    """
    if section.name in ("none", "patient") or section.name in PRUNERS:
        return None
    if section.min_rows is None:
        return 3
    return max(1, math.ceil(section.min_rows / report_rows))


def rung_steps(section: PrunerSection, report_rows: int, n_reports: int) -> list[int]:
    """Returns the report steps of the rungs of a trial of ``n_reports`` reports; of ``hyperband``
    those of its first bracket, which the others share from some step on."""
    first = first_rung(section, report_rows)
    if first is None or not section.has_rungs:
        return []
    powers = (first * section.reduction_factor**rung for rung in itertools.count())
    return list(itertools.takewhile(lambda step: step <= n_reports, powers))


def trial_seed(seed: int, number: int, draw: int) -> int:
    """Returns an unsigned 32-bit seed that differs for each trial and draw."""
    return int(np.random.SeedSequence([seed, number, draw]).generate_state(1)[0])


def listed(space: SearchSpace) -> list[Params] | None:
    """Returns every parameter set, or None where there are more than ``MAX_LISTED``."""
    found: list[Params] = []
    for params in space.grid():
        if params is None or len(found) >= MAX_LISTED:
            return None
        found.append({path: _rounded(value) for path, value in params.items()})
    return found


def grid_order(space: SearchSpace, seed: int) -> list[Params]:
    """Returns the grid in an order shuffled by ``seed``, so that a part of it covers the space.

    Raises:
        ConfigError: Some parameter is continuous, or the grid is too large to be listed.
    """
    grid = listed(space)
    if grid is None:
        continuous = [p.path for p in space.parameters if _is_continuous(p.leaf)]
        what = f"{', '.join(continuous)} has no `step`" if continuous else f"has over {MAX_LISTED}"
        raise ConfigError(
            [
                f"`sampler.name` 'grid' needs a space of at most {MAX_LISTED} parameter sets, "
                f"but {what}. Give `step` or `choices`, or use `sampler.name=qmc`."
            ]
        )
    random.Random(trial_seed(seed, 0, 0)).shuffle(grid)
    return grid


def key_of(params: Params) -> str:
    """Returns a text that is equal for equal parameter sets (True and 1 differ)."""
    return repr(sorted((path, type(v).__name__, _rounded(v)) for path, v in params.items()))


def _rounded(value: Scalar) -> Scalar:
    """Removes the rounding errors of sums of steps: 0.1 + 0.1 + 0.1 becomes 0.3."""
    return float(f"{value:.12g}") if isinstance(value, float) else value


def _is_continuous(leaf: Any) -> bool:
    return leaf.type == "float" and leaf.step is None
