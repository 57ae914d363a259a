"""Decides whether one configuration is better than another, from models of several seeds each.

Two things move a measured difference: the seeds that the models were trained with, and the rows
that judge them. The variance of the difference of the means over seeds is the sum of both: that of
rows by a bootstrap that draws the same rows, or whole groups, for all models, and that of seeds
from the spread of the seeds. Each part has Student's quantile for its own degrees of freedom, and
the squares of both reaches add up (as in Graybill & Wang 1980): with so few seeds Satterthwaite's
common quantile makes twice the false claims that were asked for.

**Looks.** After each further seed it may be decided, so that the chance of a false claim is spent
in equal shares over the looks (error spending: Slud & Wei 1982; Lan & DeMets 1983). The shares add
up by the union bound, which holds however looks depend on each other; rows in common make them
depend more than the tables for group-sequential trials assume.

**Claims.** ``better`` or ``worse``: the interval is on one side of 0. ``equal``: it is inside
+-margin, which is two one-sided tests (Schuirmann 1987). ``not_better``: it is below +margin. Else
``open``.

Letters: S seeds, R resamples, N rows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import expit  # type: ignore[import-untyped]
from scipy.stats import t  # type: ignore[import-untyped]

from jamba_ray.config.direction import direction_of, lead
from jamba_ray.evaluation.bootstrap import reweighted
from jamba_ray.evaluation.counts import Floats, blocks
from jamba_ray.evaluation.crossed_gain import Bools, Halves, resample_units
from jamba_ray.evaluation.objective import objective_of

ALPHA = 0.05
"""Chance of any false claim of a sweep, over all its comparisons and looks."""
RESAMPLES = 400
_OF_SEEDS = 0.25
"""Share of the variance that seeds must have for more of them to be worth their time."""

Verdict = Literal["better", "worse", "equal", "not_better", "open"]


@dataclass(frozen=True)
class Replicate:
    """Holds what one trained model has on the rows that judge."""

    value: float
    """The objective on all rows."""
    draws: Floats
    """[R], on resamples that are the same for all models."""


@dataclass(frozen=True)
class Levels:
    """Holds the chance of error that one look of one comparison may spend on each side."""

    low: float
    """That the lower bound is above the truth: a false ``better``."""
    high: float
    low_of_rows: float
    """``low`` for the part of the error that rows make: less where A was chosen by them."""


@dataclass(frozen=True)
class Compared:
    """Holds the difference of A and B with its interval; above 0, A is better."""

    value: float
    low: float
    high: float
    verdict: Verdict
    more_seeds_help: bool
    """Whether further seeds could still decide what is open."""


def replicate(labels: Bools, log_odds: Floats, halves: Halves, objective: str) -> Replicate:
    """Computes the objective of a model's ``log_odds`` [N] on the rows and on their resamples."""
    counts, block = blocks(labels, expit(log_odds))
    draws = [
        objective_of(reweighted(counts, block, labels, times), objective)
        for times in resample_units(labels, halves.unit, RESAMPLES, 0)
    ]
    return Replicate(objective_of(counts, objective), np.array(draws))


def levels(n_comparisons: int, n_looks: int, n_chosen_from: int = 1) -> Levels:
    """Divides ``ALPHA`` over the comparisons of a sweep and the looks of each.

    ``n_chosen_from``: trials of which A was chosen on the rows that judge, where B was not chosen
    among them. That flatters A, so that as far as rows move it a claim for it must hold for all of
    them at once (Bonferroni). Seeds do not: they are new ones. A claim against A needs no
    correction.
    """
    each = ALPHA / 2.0 / max(n_comparisons, 1) / max(n_looks, 1)
    return Levels(low=each, high=each, low_of_rows=each / max(n_chosen_from, 1))


def first_look(n_seeded: int) -> int:
    """Returns the seeds of each configuration at the first look, where ``n_seeded`` of the two
    depend on seeds: the spread of two alone is by chance often next to nothing."""
    return {0: 1, 1: 3}.get(n_seeded, 2)


def compared(
    a: Sequence[Replicate],
    b: Sequence[Replicate],
    objective: str,
    n_units: int,
    spent: Levels,
    margin: float,
) -> Compared:
    """Compares two configurations by the models that were trained of each.

    Args:
        a: Models of A, at least one; one alone is taken as not depending on its seed.
        b: Models of B, likewise.
        objective: The metric, in whose direction A is better.
        n_units: Rows, or groups, of the rarer class.
        spent: What this look may spend.
        margin: The difference that does not matter.
    """
    sign = lead(1.0, 0.0, direction_of(objective))
    value = sign * float(np.mean([m.value for m in a]) - np.mean([m.value for m in b]))
    draws = np.mean([m.draws for m in a], axis=0) - np.mean([m.draws for m in b], axis=0)
    of_rows = float(np.var(draws, ddof=1))
    of_seeds, freedom = _of_seeds(a, b)
    low, high = (
        math.hypot(
            math.sqrt(of_rows) * float(t.isf(rows, max(n_units - 1, 1))),
            math.sqrt(of_seeds) * float(t.isf(seeds, freedom)),
        )
        for rows, seeds in ((spent.low_of_rows, spent.low), (spent.high, spent.high))
    )
    low, high = value - low, value + high
    verdict = _verdict(low, high, margin)
    helps = verdict == "open" and of_seeds > _OF_SEEDS * (of_rows + of_seeds)
    return Compared(value, low, high, verdict, helps)


def hopeless(alone: Compared) -> bool:
    """Says whether the rows alone, one model of each without any spread of seeds, leave open what
    is to be decided: then no number of seeds decides it, unless they move the difference itself.

    It ends a comparison before the first seed, with no claim, so that it spends nothing.
    """
    return alone.verdict == "open"


def _of_seeds(a: Sequence[Replicate], b: Sequence[Replicate]) -> tuple[float, int]:
    """Returns the variance of the difference by seeds, and its degrees of freedom; the spreads of
    two configurations of several seeds are pooled."""
    seeded = [[m.value for m in side] for side in (a, b) if len(side) > 1]
    freedom = sum(len(values) - 1 for values in seeded)
    if not freedom:
        return 0.0, 1
    squares = sum(float(np.sum((np.array(v) - np.mean(v)) ** 2)) for v in seeded)
    return squares / freedom * sum(1.0 / len(values) for values in seeded), freedom


def _verdict(low: float, high: float, margin: float) -> Verdict:
    if low > 0.0:
        return "better"
    if high < 0.0:
        return "worse"
    if -margin < low and high < margin:
        return "equal"
    return "not_better" if high < margin else "open"
