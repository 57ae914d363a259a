"""Chooses the members of a team greedily (Caruana et al. 2004, *Ensemble selection from libraries
of models*).

Letters: K models, N rows.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.special import expit  # type: ignore[import-untyped]

from jamba_ray.config.direction import direction_of, lead
from jamba_ray.evaluation.counts import Floats, blocks
from jamba_ray.evaluation.objective import objective_of

ROUNDS = 20
"""Members chosen, with repetition: a weight is a multiple of at least 1 / 20."""


def value_of_team(
    labels: npt.NDArray[np.bool_], log_odds: Floats, weights: Floats, objective: str
) -> float:
    """Computes the objective of the weighted mean of ``log_odds`` [K, N] with ``weights`` [K]."""
    return objective_of(blocks(labels, expit(weights @ log_odds))[0], objective)


def greedy(
    labels: npt.NDArray[np.bool_],
    log_odds: Floats,
    objective: str,
    max_members: int,
    latency_ms: Sequence[float] | None = None,
    max_latency_ms: float | None = None,
) -> Floats:
    """Returns the weights [K] of a team, which are not negative and add up to 1.

    Each of ``ROUNDS`` rounds adds the model, also one that is in already, with which the mean of
    the log-odds [K, N] has the best objective; the best of these teams is returned, of equal ones
    the earliest. Of equal models the first is taken. The first round takes the best single model,
    whatever its latency; later ones keep to both limits.
    """
    direction = direction_of(objective)
    n_models = len(log_odds)
    taken = np.zeros(n_models)
    total = np.zeros(log_odds.shape[1])
    best: tuple[float, Floats] | None = None
    for size in range(1, ROUNDS + 1):
        found: tuple[float, int] | None = None
        for k in range(n_models):
            if size > 1 and not _fits(taken, k, max_members, latency_ms, max_latency_ms):
                continue
            counts, _ = blocks(labels, expit((total + log_odds[k]) / size))
            value = objective_of(counts, objective)
            if found is None or lead(value, found[0], direction) > 0:
                found = value, k
        if found is None:
            break
        value, k = found
        taken[k] += 1
        total += log_odds[k]
        if best is None or lead(value, best[0], direction) > 0:
            best = value, taken / size
    assert best is not None  # the first round takes a model, whatever the limits
    return best[1]


def _fits(
    taken: Floats,
    k: int,
    max_members: int,
    latency_ms: Sequence[float] | None,
    max_latency_ms: float | None,
) -> bool:
    """Says whether the team with model ``k`` keeps to its limits."""
    members = {int(i) for i in np.flatnonzero(taken)} | {k}
    if taken[k]:
        return True
    if latency_ms is None or max_latency_ms is None:
        return len(members) <= max_members
    return len(members) <= max_members and sum(latency_ms[i] for i in members) <= max_latency_ms
