"""Estimates which parameters mattered: Optuna's PED-ANOVA over trials that can be compared."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import optuna
from optuna.distributions import BaseDistribution

from jamba_ray.config.direction import direction_of
from jamba_ray.study.records import TrialRecord

MIN_TRIALS = 8
"""With fewer trials an importance is noise."""
_GOOD = 0.25
"""The share of trials that count as good, and at least three. With Optuna's own 0.1 the one
parameter of four that decided came first in 76 % of 25 simulated sweeps of 12 trials and in 88 %
of 30 trials; with 0.25 in 92 % and 100 %."""


@dataclass(frozen=True)
class Compared:
    """Holds trials whose values can be compared."""

    values: Mapping[int, float]
    """Trial number -> objective."""
    step: int | None
    """The report that has the values; None: they are the final ones of complete trials."""

    @property
    def words(self) -> str:
        """Describes which trials these are."""
        n = len(self.values)
        if self.step is None:
            return f"the {n} complete trials"
        return f"the {n} trials that came to report {self.step}, as they stood there"


def compared(trials: Sequence[TrialRecord]) -> Compared | None:
    """Returns the complete trials if there are enough, else the trials at a common report.

    That report is the latest one that enough trials reached: a short sweep with pruning has few
    complete trials. None: there are too few either way.

    A pruned trial's last value is never compared with a final one.
    """
    done = {t.number: t.value for t in trials if t.state == "complete" and t.value is not None}
    if len(done) >= MIN_TRIALS:
        return Compared(done, None)
    curves = {t.number: dict(t.curve) for t in trials if t.state != "failed"}
    lasts = sorted((max(curve) for curve in curves.values() if curve), reverse=True)
    if len(lasts) < MIN_TRIALS:
        return None
    step = lasts[MIN_TRIALS - 1]
    return Compared({n: curve[step] for n, curve in curves.items() if step in curve}, step)


def importance(
    trials: Sequence[TrialRecord],
    distributions: Mapping[str, BaseDistribution],
    objective: str,
) -> dict[str, float]:
    """Returns the share of each parameter, largest first; empty where it cannot be estimated.

    Watanabe et al. 2023, "PED-ANOVA", over the trials of ``compared`` and the parameters that all
    of them have.
    """
    among = compared(trials)
    chosen = [] if among is None else [t for t in trials if t.number in among.values]
    shared = [path for path in distributions if all(path in t.params for t in chosen)]
    if among is None or len(chosen) < MIN_TRIALS or len(shared) < 2:
        return {}
    # Imported here: it brings scipy.stats (and scikit-learn, where that is installed), which take a
    # second.
    from optuna.importance import PedAnovaImportanceEvaluator

    study = optuna.create_study(direction=direction_of(objective))
    for trial in chosen:
        study.add_trial(
            optuna.trial.create_trial(
                params={path: trial.params[path] for path in shared},
                distributions={path: distributions[path] for path in shared},
                value=among.values[trial.number],
            )
        )
    good = max(_GOOD, 3 / len(chosen))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        shares = optuna.importance.get_param_importances(
            study, evaluator=PedAnovaImportanceEvaluator(target_quantile=good), params=shared
        )
    total = sum(shares.values())
    return {path: share / total for path, share in shares.items()} if total > 0 else {}
