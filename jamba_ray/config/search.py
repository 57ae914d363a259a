"""Defines ``sampler`` and ``pruner``: how trials are proposed and when they are stopped early."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, model_validator

from jamba_ray.config.plugins import METRICS, PRUNERS, SAMPLERS, open_to
from jamba_ray.config.section import Section, as_if_absent

_Detects = Literal[
    "average_precision",
    "roc_auc",
    "f1",
    "recall_at_fpr_1e-2",
    "recall_at_fpr_1e-3",
    "partial_auc_1e-2",
    "precision_at_alerts_1e-3",
]
_Known = Literal[_Detects, "log_loss", "robustness"]

OBJECTIVES = frozenset(get_args(_Known))
Objective = Annotated[_Known, open_to(METRICS, get_args(_Known))]
"""The metric that decides: one of ours, or of a plug-in."""


COSTS = ("latency_ms", "model_size_mb")
"""What a model costs beside its mistakes: milliseconds for one row alone, and the megabytes of its
weights."""
_Further = Literal[_Detects, "accuracy", "brier", "ece", "log_loss", "latency_ms", "model_size_mb"]
Further = Annotated[_Further, open_to(METRICS, get_args(_Further))]
"""An objective beside the one that decides, or what a limit is of."""
MEASURES = get_args(_Further)


def key_of(measure: str) -> str:
    """Returns the name of a measure among a trial's metrics."""
    return measure if measure in COSTS else f"val/{measure}"


_Sampler = Literal["tpe", "random", "grid", "qmc", "gp", "cmaes", "nsga2"]
_Pruner = Literal["asha", "hyperband", "median", "patient", "none"]


class SamplerSection(Section):
    """Chooses one of Optuna's samplers by name.

    ``sampler=gp`` sets ``sampler.name``.
    """

    name: Annotated[_Sampler, open_to(SAMPLERS, get_args(_Sampler))] = "tpe"
    """How the next trial's parameters are proposed. ``cmaes`` needs ``jamba-ray[cmaes]``."""
    n_startup_trials: Annotated[int, Field(ge=1)] = 8
    """Random trials before ``tpe`` or ``gp`` begin to model."""
    multivariate: bool = True
    """``tpe`` with one objective only: model parameters jointly."""
    population_size: Annotated[int, Field(ge=2, le=10_000)] | None = Field(
        default=None, json_schema_extra=as_if_absent(None)
    )
    """``cmaes`` and ``nsga2`` only: trials of a generation, at least four of ``cmaes``; None: 16 of
    ``nsga2``, and of ``cmaes`` 4 + 3 ln(parameters)."""

    @model_validator(mode="before")
    @classmethod
    def _takes_a_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value


class PrunerSection(Section):
    """Stops trials early.

    ``asha``: asynchronous successive halving (Li et al. 2020), decided as by Optuna's
    ``SuccessiveHalvingPruner``, so that rungs live in the study and survive any crash. The others
    decide as Optuna's pruners of their names do. ``pruner=median`` sets ``pruner.name``.
    """

    name: Annotated[_Pruner, open_to(PRUNERS, get_args(_Pruner))] = "asha"
    """``asha`` stops poor trials early, at rungs; ``hyperband``: the same, with several first
    rungs; ``median``: a trial whose best report is worse than the median of complete ones;
    ``patient``: one that no longer improves; ``none`` trains each trial to its end."""
    min_rows: Annotated[int, Field(ge=1)] | None = None
    """Rows a trial sees before the first rung, or before ``median`` judges it; None: three reports.
    """
    reduction_factor: Annotated[int, Field(ge=2)] = 3
    """``asha`` and ``hyperband``: one in so many trials passes each rung."""
    patience: Annotated[int, Field(ge=0)] = Field(default=3, json_schema_extra=as_if_absent(3))
    """``patient`` only: reports without a new best one before a trial is stopped."""

    @model_validator(mode="before")
    @classmethod
    def _takes_a_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @property
    def has_rungs(self) -> bool:
        """Says whether trials are compared at rungs, which the study notes."""
        return self.name in ("asha", "hyperband")


def split_objectives(tree: Any) -> Any:
    """Returns settings whose ``objective`` is a list with its first one, and the rest in
    ``further``."""
    given = tree.get("objective") if isinstance(tree, Mapping) else None
    if not isinstance(given, list | tuple) or not given:
        return tree
    return {**tree, "objective": given[0], "further": list(given[1:])}


def check_several(
    objective: str, further: Sequence[str], sampler: str, pruner: str, *, terminates: bool
) -> None:
    """Refuses a sampler, a pruner and an early end that cannot have several objectives.

    Raises:
        ValueError: With a sentence for the first that cannot.
    """
    if not further:
        return
    names = [objective, *further]
    if len({*names}) < len(names):
        raise ValueError(f"`objective` must name each once, but has {', '.join(names)}")
    if sampler == "cmaes":
        raise ValueError(
            "`sampler.name` must be one for several objectives (tpe, nsga2, gp, random, grid, qmc),"
            " but is 'cmaes'. Choose one, or give one `objective`"
        )
    if terminates:
        raise ValueError(
            f"`terminate` needs one objective, but `objective` is {', '.join(names)}. Drop one of "
            "the two"
        )
    if pruner not in ("asha", "none"):
        raise ValueError(
            f"`pruner.name` must be asha or none with several objectives, but is {pruner!r}. "
            "Choose one, or give one `objective`"
        )
