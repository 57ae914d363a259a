"""Defines ``budget``: what a sweep may use of time and money, and the one limit that follows
from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from jamba_ray.config.names import LocalPath
from jamba_ray.config.section import Section
from jamba_ray.errors import ConfigError


class BudgetSection(Section):
    """Limits all sessions of a run together.

    When it is used up no trial starts, running ones end at their next report, and what was found is
    judged and kept as usual.
    """

    hours: Annotated[float, Field(gt=0.0)] | None = None
    """Hours of wall time."""
    usd: Annotated[float, Field(gt=0.0)] | None = None
    """US dollars: wall time at the price of the whole cluster, with as many workers as it may
    have, so that no more is spent however fast it grows."""
    usd_per_hour: Annotated[float, Field(gt=0.0)] | None = None
    """Price of the whole cluster; None: from `prices` and the file of the cluster's `ray up`."""
    prices: LocalPath = "cluster/prices.yaml"
    """File with the price of each instance type."""


@dataclass(frozen=True)
class Limit:
    """Says when a sweep ends whether it is done or not."""

    seconds: float
    """Of wall time, over all sessions."""
    words: str
    """The setting that says so: '`budget.hours` (2 h)'."""


def limit_of(budget: BudgetSection) -> Limit | None:
    """Returns the tighter limit of hours and dollars; None: there is none.

    Raises:
        ConfigError: There are dollars and no price.
    """
    limits = []
    if budget.hours is not None:
        limits.append(Limit(3600.0 * budget.hours, f"`budget.hours` ({budget.hours:g} h)"))
    if budget.usd is not None:
        if budget.usd_per_hour is None:
            raise ConfigError(
                [
                    f"`budget.usd` ({budget.usd:g}) needs the price of the machines, which is not "
                    "known here. Give `budget.usd_per_hour`, or set `budget.hours` instead."
                ]
            )
        words = f"`budget.usd` ({budget.usd:g} USD at {budget.usd_per_hour:.4g} USD an hour)"
        limits.append(Limit(3600.0 * budget.usd / budget.usd_per_hour, words))
    return min(limits, key=lambda limit: limit.seconds, default=None)
