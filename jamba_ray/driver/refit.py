"""Trains the winner of a cross-validated sweep on all training rows, with an out-of-fold threshold.

Each model of a fold has seen a part of the training rows. The model that is kept is trained once
more on all of them; the validation rows, which no fold has, end its training as they end any
trial's. Its threshold comes from the predictions of the folds' models on the rows held out from
them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from jamba_ray.checkpoints import CheckpointStore, Snapshot, write_checkpoint
from jamba_ray.config.run import SweepConfig
from jamba_ray.data.prepared import PreparedData
from jamba_ray.driver.retraining import kept_model
from jamba_ray.errors import CheckpointError, ConfigError, TrialError
from jamba_ray.evaluation import choose_threshold
from jamba_ray.inference import Predictor
from jamba_ray.runners.runner import member_of
from jamba_ray.runs.run_folder import RunFolder
from jamba_ray.study.records import TrialRecord, TrialSpec
from jamba_ray.study.settings import base_config
from jamba_ray.training import Decision, Member, Report, fit


@dataclasses.dataclass(frozen=True)
class Refit:
    """Holds the model that is kept and how it came about."""

    snapshot: Snapshot
    winner: TrialRecord
    """The trial, with the steps and rows of ``snapshot`` in place of its first fold's."""
    threshold: float
    """With the best F1 of all out-of-fold predictions."""
    summary: dict[str, Any]
    """``cv`` of ``summary.json``, without its sentences."""


def refit(
    config: SweepConfig,
    data: PreparedData,
    folder: RunFolder,
    winner: TrialRecord,
    phase: Callable[[str], object] = lambda words: None,
) -> Refit:
    """Trains ``winner`` on all training rows; one that was trained before a kill is read.

    Raises:
        CheckpointError: The model of one of its folds is gone or damaged.
        StorageError: The disk does not take the model.
        TrialError: The winner cannot be trained on all training rows.
    """
    phase(f"scoring the held-out rows of {len(data.folds)} folds")
    y, p = out_of_fold(winner.number, data, folder.checkpoint_store())
    threshold = choose_threshold(y, p)
    base = base_config(config, len(data.train))
    member = member_of(TrialSpec(winner.number, winner.params), base)
    phase(f"training trial {winner.number} on all {len(data.train):,} training rows")
    snapshot = _with_threshold(_trained(member, data, folder), threshold)
    state = snapshot.documents["state"]
    return Refit(
        snapshot,
        dataclasses.replace(
            winner,
            best_step=int(state["best_step"]),
            rows_seen=int(state["rows_seen"]),
            epochs=state["rows_seen"] / len(data.train),
            curve=((int(state["step"]), float(state["best_value"] or 0.0)),),
        ),
        threshold,
        {
            "folds": config.cv.folds,
            "repeats": config.cv.repeats,
            "kind": data.overview.get("split", {}).get("kind"),
            "rows": [{"train": len(one.train), "held_out": len(one.val)} for one in data.folds],
            "values": list(winner.folds),
            "mean": winner.value,
            "std_error": winner.std_error,
            "threshold": threshold,
            "threshold_rows": len(y),
            "refit_rows": len(data.train),
        },
    )


def out_of_fold(
    trial: int, data: PreparedData, store: CheckpointStore
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Returns labels and probabilities of all held-out rows, each by the model that did not see it.

    Raises:
        CheckpointError: The model of a fold is gone, damaged, or of other rows.
    """
    paths = {e.step: e.path for e in store.entries(trial) if e.kind == "fold"}
    labels, scores = [], []
    for i, fold in enumerate(data.folds, start=1):
        if i not in paths:
            raise CheckpointError(
                f"The winner must have a model of each of its {len(data.folds)} folds, but that of "
                f"fold {i} of trial {trial} is gone. Run the sweep again under another `run=`."
            )
        snapshot = store.load(paths[i])
        if snapshot.documents.get("fingerprints", {}).get("data") != fold.fingerprint:
            raise CheckpointError(
                f"The model of fold {i} of trial {trial} must be of this sweep's rows, but is of "
                "others. Run the sweep again under another `run=`."
            )
        labels.append(fold.val.y)
        scores.append(Predictor(snapshot).score_rows(fold.val))
    return np.concatenate(labels), np.concatenate(scores)


def _trained(member: Member, data: PreparedData, folder: RunFolder) -> Snapshot:
    place = folder.certify / f"trial-{member.trial}-all-rows"
    if (kept := kept_model(place, member, data)) is not None:
        return kept

    def go_on(reports: list[Report]) -> list[Decision]:
        return ["continue"] * len(reports)

    why = f"The winner, trial {member.trial}, could not be trained on all training rows"
    try:
        device = "cuda" if torch.cuda.is_available() else "cpu"
        (outcome,) = fit([member], data, go_on, device=device)  # type: ignore[arg-type]
    except (ConfigError, TrialError) as error:
        raise TrialError(f"{why}: {error.message}") from error
    if outcome.checkpoint is None:
        raise TrialError(f"{why}: {outcome.reason or 'it gave no model'}")
    folder.certify.mkdir(exist_ok=True)
    write_checkpoint(outcome.checkpoint, place, member.trial, outcome.best_step)
    return outcome.checkpoint


def _with_threshold(snapshot: Snapshot, threshold: float) -> Snapshot:
    metrics = {**snapshot.documents["metrics"], "threshold": threshold}
    return dataclasses.replace(snapshot, documents={**snapshot.documents, "metrics": metrics})
