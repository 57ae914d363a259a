"""The importance of parameters of a search space, before anything of it is stored."""

from __future__ import annotations

from collections.abc import Sequence

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

from jamba_ray.config.space import CategoricalLeaf, SearchSpace
from jamba_ray.reports.importance import importance as of_distributions
from jamba_ray.study.records import TrialRecord


def importance(
    trials: Sequence[TrialRecord], space: SearchSpace, objective: str
) -> dict[str, float]:
    """``jamba_ray.reports.importance`` for the parameters of ``space``."""
    distributions = {p.path: _distribution(p.leaf) for p in space.parameters}
    return of_distributions(trials, distributions, objective)


def _distribution(leaf: object) -> BaseDistribution:
    if isinstance(leaf, CategoricalLeaf):
        return CategoricalDistribution(leaf.choices)
    low, high, log = leaf.low, leaf.high, leaf.log  # type: ignore[attr-defined]
    return FloatDistribution(float(low), float(high), log=log)
