"""Defines ``sampler`` and ``pruner``: how trials are proposed and when they are stopped early."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import Field

from jamba_ray.config.plugins import METRICS, open_to
from jamba_ray.config.section import Section

_Known = Literal[
    "average_precision",
    "roc_auc",
    "f1",
    "recall_at_fpr_1e-2",
    "recall_at_fpr_1e-3",
    "partial_auc_1e-2",
    "precision_at_alerts_1e-3",
    "log_loss",
]

OBJECTIVES = frozenset(get_args(_Known))
Objective = Annotated[_Known, open_to(METRICS, get_args(_Known))]
"""The metric that decides: one of ours, or of a plug-in."""


class SamplerSection(Section):
    """Chooses one of Optuna's samplers by name."""

    name: Literal["tpe", "random", "grid", "qmc", "gp"] = "tpe"
    """How the next trial's parameters are proposed."""
    n_startup_trials: Annotated[int, Field(ge=1)] = 8
    """Random trials before ``tpe`` or ``gp`` begin to model."""
    multivariate: bool = True
    """``tpe`` only: model parameters jointly."""


class PrunerSection(Section):
    """Stops trials early.

    ``asha``: asynchronous successive halving (Li et al. 2020), decided as by Optuna's
    ``SuccessiveHalvingPruner``, so that rungs live in the study and survive any crash.
    """

    name: Literal["asha", "none"] = "asha"
    """``asha`` stops poor trials early; ``none`` trains each trial to its end."""
    min_rows: Annotated[int, Field(ge=1)] | None = None
    """Rows a trial sees before the first rung; None: three reports."""
    reduction_factor: Annotated[int, Field(ge=2)] = 3
    """One in so many trials passes each rung."""
