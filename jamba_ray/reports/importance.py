"""Which parameters mattered: Optuna's PED-ANOVA over the complete trials."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence

import optuna
from optuna.distributions import BaseDistribution

from jamba_ray.config.direction import direction_of
from jamba_ray.study.records import TrialRecord

MIN_TRIALS = 8
"""With fewer complete trials an importance is noise."""


def importance(
    trials: Sequence[TrialRecord],
    distributions: Mapping[str, BaseDistribution],
    objective: str,
) -> dict[str, float]:
    """Parameter -> share of the importance, largest first; empty where it cannot be told.

    Watanabe et al. 2023, "PED-ANOVA", over complete trials and the parameters that all of them
    have; a pruned trial's low-fidelity value would pass for a bad final one.
    """
    complete = [t for t in trials if t.state == "complete" and t.value is not None]
    shared = [path for path in distributions if all(path in t.params for t in complete)]
    if len(complete) < MIN_TRIALS or len(shared) < 2:
        return {}
    # With it come scikit-learn and scipy.stats, a second that a command need not begin with.
    from optuna.importance import PedAnovaImportanceEvaluator

    study = optuna.create_study(direction=direction_of(objective))
    for trial in complete:
        study.add_trial(
            optuna.trial.create_trial(
                params={path: trial.params[path] for path in shared},
                distributions={path: distributions[path] for path in shared},
                value=trial.value,
            )
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        shares = optuna.importance.get_param_importances(
            study, evaluator=PedAnovaImportanceEvaluator(), params=shared
        )
    total = sum(shares.values())
    return {path: share / total for path, share in shares.items()} if total > 0 else {}
