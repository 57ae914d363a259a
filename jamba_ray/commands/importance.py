"""Which parameters mattered: Optuna's PED-ANOVA over the complete and pruned trials."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.importance import PedAnovaImportanceEvaluator

from jamba_ray.config.search import DIRECTIONS
from jamba_ray.config.space import CategoricalLeaf, SearchSpace
from jamba_ray.search.records import TrialRecord

MIN_TRIALS = 8
"""With fewer complete trials an importance is noise."""


def importance(
    trials: Sequence[TrialRecord], space: SearchSpace, objective: str
) -> dict[str, float]:
    """Parameter -> share of the importance, largest first; empty where it cannot be told.

    Watanabe et al. 2023, "PED-ANOVA", over complete trials and the parameters that all of them
    have; a pruned trial's low-fidelity value would pass for a bad final one.
    """
    complete = [t for t in trials if t.state == "complete" and t.value is not None]
    shared = [p for p in space.parameters if all(p.path in t.params for t in complete)]
    if len(complete) < MIN_TRIALS or len(shared) < 2:
        return {}
    study = optuna.create_study(direction=DIRECTIONS[objective])
    distributions = {p.path: _distribution(p.leaf, complete, p.path) for p in shared}
    for trial in complete:
        study.add_trial(
            optuna.trial.create_trial(
                params={p.path: trial.params[p.path] for p in shared},
                distributions=distributions,
                value=trial.value,
            )
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        shares = optuna.importance.get_param_importances(
            study, evaluator=PedAnovaImportanceEvaluator(), params=[p.path for p in shared]
        )
    total = sum(shares.values())
    return {path: share / total for path, share in shares.items()} if total > 0 else {}


def _distribution(leaf: object, complete: Sequence[TrialRecord], path: str) -> BaseDistribution:
    if isinstance(leaf, CategoricalLeaf):
        return CategoricalDistribution(leaf.choices)
    low, high, log = leaf.low, leaf.high, leaf.log  # type: ignore[attr-defined]
    return FloatDistribution(float(low), float(high), log=log)
