"""Chooses the winner of a sweep with several objectives from their front, by a stated rule."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jamba_ray.checkpoints import CheckpointStore
from jamba_ray.config.direction import direction_of
from jamba_ray.config.run import SweepConfig
from jamba_ray.config.search import COSTS, key_of
from jamba_ray.data.prepared import PreparedData
from jamba_ray.errors import CheckpointError
from jamba_ray.inference.latency import costs
from jamba_ray.study.front import as_losses, pick, ranks
from jamba_ray.study.records import TrialRecord


@dataclass(frozen=True)
class Picked:
    """Holds the winner, and the front that it was picked from."""

    winner: TrialRecord
    front: dict[str, Any] | None
    """``front`` of ``summary.json``; None: there is one objective."""


def picked(
    config: SweepConfig,
    data: PreparedData,
    store: CheckpointStore,
    leader: TrialRecord,
    trials: Sequence[TrialRecord],
) -> Picked:
    """Returns the trial of the front that ``pick`` names; ``leader`` is the best by the first
    objective, and the winner where there is no other objective or no trial keeps the limits.

    Costs are measured again here, of all models that are kept, one after the other and while none
    is trained: runners measure them while others train.
    """
    if not config.further:
        return Picked(leader, None)
    directions = [direction_of(name) for name in config.objectives]
    kept = [t for t in trials if t.values and not t.violation] or [leader]
    again: dict[int, dict[str, float]] = {}
    if config.measures_costs:
        again = {t.number: found for t in kept if (found := _costs(t, store, data))}
        kept = [t for t in kept if t.number in again] or kept
    values = {t.number: _values(t, again.get(t.number, {}), config.objectives) for t in kept}
    keeping = [t for t in kept if _keeps(t, again.get(t.number, {}), config)] or kept
    points = as_losses([values[t.number] for t in keeping], directions)
    still = [i for i, rank in enumerate(ranks(points)) if rank == 0]
    winner = keeping[still[pick(points[still], config.pick)]]
    return Picked(
        winner,
        {
            "objectives": dict(zip(config.objectives, directions, strict=True)),
            "constraint": list(config.constraint),
            "pick": config.pick,
            "picked": winner.number,
            "leader": leader.number,
            "kept": not leader.violation,
            "trials": [
                {
                    "trial": keeping[i].number,
                    "values": dict(zip(config.objectives, values[keeping[i].number], strict=True)),
                    "params": dict(keeping[i].params),
                }
                for i in sorted(still, key=lambda i: points[i].tolist())
            ],
        },
    )


def _costs(trial: TrialRecord, store: CheckpointStore, data: PreparedData) -> dict[str, float]:
    with contextlib.suppress(CheckpointError):
        return costs(store.load(trial.checkpoint or ""), data.val)
    return {}  # its checkpoint was deleted: others were better


def _values(
    trial: TrialRecord, again: dict[str, float], objectives: Sequence[str]
) -> tuple[float, ...]:
    return tuple(
        again.get(name, value) for name, value in zip(objectives, trial.values, strict=True)
    )


def _keeps(trial: TrialRecord, again: dict[str, float], config: SweepConfig) -> bool:
    """Says whether a trial keeps the limits on costs as they were measured again."""
    return all(
        limit.measure not in COSTS
        or limit.violation(again.get(limit.measure, trial.metrics[key_of(limit.measure)])) <= 0.0
        for limit in config.limits
    )
