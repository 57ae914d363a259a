"""Trains the default models that a winner is held against, and keeps them for later rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jamba_ray.checkpoints import Snapshot, write_checkpoint
from jamba_ray.config.direction import better, direction_of
from jamba_ray.config.family import FAMILIES
from jamba_ray.config.run import TrialConfig
from jamba_ray.config.search import Objective
from jamba_ray.data.prepared import PreparedData
from jamba_ray.errors import ConfigError, TrialError
from jamba_ray.inference import Predictor, load
from jamba_ray.runs.run_folder import RIVALS, RunFolder
from jamba_ray.training import Member, fit


def rivals_of(families: Sequence[str], winner: str) -> list[str]:
    """Returns the families to train: a family is no rival of itself."""
    return [family for family in families if family != winner]


def train_rivals(
    families: Sequence[str], config: TrialConfig, data: PreparedData, folder: RunFolder
) -> Iterator[tuple[str, Snapshot | str]]:
    """Trains each family with its defaults, by the code path and the objective of trials.

    Yields each with its model, which is kept in the run, or with the reason why there is none.

    Raises:
        StorageError: The disk does not take a model.
    """
    for family in families:
        rival = config.model_copy(update={"model": FAMILIES[family](name=family)})
        try:
            (outcome,) = fit([Member(0, rival)], data, lambda reports: ["continue"] * len(reports))
        except (ConfigError, TrialError) as error:
            yield family, error.message
            continue
        if outcome.checkpoint is None:
            yield family, outcome.reason or "it gave no model"
            continue
        write_checkpoint(outcome.checkpoint, folder.rivals / family)
        yield family, outcome.checkpoint


def strongest(on_validation: Mapping[str, Mapping[str, Any]], objective: Objective) -> str:
    """Returns the family that is best on the validation rows (family -> metric -> interval).

    The test decides nothing here, so that it can judge what was chosen. Of equal ones the first.
    """
    direction = direction_of(objective)
    best, *others = on_validation
    for name in others:
        known = objective in on_validation[name] and objective in on_validation[best]
        key = objective if known else "average_precision"
        mine, its = (on_validation[family][key]["value"] for family in (name, best))
        if better(mine, its, direction if known else "maximize"):
            best = name
    return best


def kept_rivals(checkpoint: str) -> dict[str, Predictor]:
    """Returns the default models that the run of ``checkpoint`` keeps, by family.

    ``checkpoint`` is a run folder of this machine or its ``best/``; of anything else there are
    none.

    Raises:
        CheckpointError: One is damaged.
    """
    place = Path(checkpoint)
    run = place.parent if place.name == "best" else place
    folders = sorted(path for path in (run / RIVALS).glob("*") if path.name in FAMILIES)
    return {path.name: load(path) for path in folders}
