"""Trains the winner again on more rows: the training rows and half of the validation rows.

The length is that which validation chose in the search, as passes over the rows (trees: as many),
so that nothing is chosen anew. The other half of the validation rows is never trained on: the
winner's validation figures, its thresholds and what they promise are of those rows. All is a
function of the winner and the rows, so that a run that was killed meanwhile ends with the same
model; what was trained before is read again.
"""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import expit  # type: ignore[import-untyped]

from jamba_ray.checkpoints import Snapshot, write_checkpoint
from jamba_ray.config.run import TrialConfig
from jamba_ray.config.training_length import settled
from jamba_ray.data.mapped_rows import MappedRows
from jamba_ray.data.prepared import PreparedData, Rows
from jamba_ray.driver.retraining import kept_model, trained
from jamba_ray.driver.team import halves_of
from jamba_ray.evaluation.crossed_gain import few_rows
from jamba_ray.inference import Predictor
from jamba_ray.inference.team import Part, joined
from jamba_ray.runs.run_folder import RunFolder
from jamba_ray.study.records import TrialRecord
from jamba_ray.training import Member
from jamba_ray.training.schedule import Timetable
from jamba_ray.training.validation import final_metrics

_FIELDS = dataclasses.fields(Rows)
_BOUND = "folds, limits, several objectives, `robustness` or distillation bind it to what it was"


@dataclass(frozen=True)
class MoreRows:
    """Holds the winner trained on more rows, if it was, and what is said of it."""

    data: PreparedData
    """The rows with half of validation among those of training; without a model those given."""
    snapshot: Snapshot | None
    summary: Mapping[str, Any]
    """``refit`` of ``summary.json``."""


def refit_winner(
    parts: Sequence[Part],
    data: PreparedData,
    folder: RunFolder,
    winner: TrialRecord,
    trials: Sequence[TrialRecord],
    phase: Callable[[str], object] = lambda words: None,
    *,
    is_free: bool = True,
) -> MoreRows:
    """Trains the winner, of one model or of several (``parts``), again on more rows, where nothing
    else binds it (``is_free``).

    Raises:
        StorageError: The disk does not take a model.
    """
    begun = time.monotonic()
    if not is_free:
        return _left(data, _BOUND)
    larger = enlarged(data)
    if isinstance(larger, str):
        return _left(data, larger)
    phase("training the winner again on more rows")
    seconds = {t.number: t.goodput_s or t.seconds for t in trials}
    found = []
    for i, part in enumerate(parts):
        member = carried(part.snapshot, len(data.train), len(larger.train))
        place = folder.certify / f"refit-{i}-trial-{part.trial}"
        share = len(larger.train) / len(data.train)
        again = kept_model(place, member, larger) or trained(
            member, larger, share * seconds.get(part.trial, winner.seconds)
        )
        if isinstance(again, str):
            return _left(data, again)
        write_checkpoint(again, place)
        found.append(Part(part.trial, part.weight, again))
    snapshot = found[0].snapshot if len(found) == 1 else _team(found, larger)
    told = {
        "used": True,
        "rows": len(larger.train) - len(data.train),
        "train_rows": len(larger.train),
        "val_rows": len(larger.val),
        "seconds": time.monotonic() - begun,
    }
    return MoreRows(larger, snapshot, {**told, "sentence": in_words(told)})


def in_words(told: Mapping[str, Any]) -> str:
    """Says that the winner was trained again, or why it was not; ``told`` is ``refit`` of
    ``summary.json``."""
    if not told["used"]:
        return f"The winner was not trained again on more rows: {told['reason']}."
    return (
        f"The winner was trained again on {told['rows']:,} more rows, half of those of validation "
        f"({told['train_rows']:,} in all), and each rival too. Validation's figures and thresholds "
        f"are of the other {told['val_rows']:,}, on which nothing was trained."
    )


def enlarged(data: PreparedData) -> PreparedData | str:
    """Returns the rows with half of validation among those of training, or why it cannot be.

    Rows are divided as training was divided from validation: of a split by time the newer half
    stays unseen, groups and equal rows stay together.
    """
    if isinstance(data.train, MappedRows):
        return "the rows lie on disk, where there are enough of them"
    halves = halves_of(data.val, data.train)
    if (reason := few_rows(data.val.y == 1.0, halves)) is not None:
        return reason
    added, kept = (_taken(data.val, part) for part in (~halves.second, halves.second))
    digest = hashlib.sha256(f"{data.fingerprint} half of validation".encode())
    return dataclasses.replace(
        data,
        train=_together(data.train, added),
        val=kept,
        fingerprint=digest.hexdigest()[:16],
    )


def carried(snapshot: Snapshot, n_before: int, n_after: int) -> Member:
    """Returns what trains a model's configuration on ``n_after`` rows for as long as it was trained
    on ``n_before``: as many rounds of trees, or passes over the rows with the rate lowered at the
    same report.

    The last weights are kept, except where the rate falls over a given length (``cosine``): there
    the kept half of validation chooses the report, as in the search.
    """
    config = TrialConfig.model_validate(snapshot.documents["config"])
    state = snapshot.documents["state"]
    rounds = state.get("best_rounds")
    if rounds is not None:
        if "n_estimators" not in type(config.model).model_fields:
            return Member(0, config)
        model = config.model.model_copy(update={"n_estimators": max(1, int(rounds))})
        return Member(0, config.model_copy(update={"model": model}), keeps_last=True)
    training = settled(config.training, n_before)
    table = Timetable.of(training, n_before)
    if not table.is_plateau:
        return Member(0, config)
    cooling = state["cooling_from"]
    batches = int(state["batches"]) if cooling is None else table.end(cooling)
    length = {
        "epochs": table.rows_after(batches) / n_before,
        "report_rows": round(table.report_rows * n_after / n_before),
    }
    longer = config.model_copy(update={"training": training.model_copy(update=length)})
    return Member(0, longer, keeps_last=True)


def _left(data: PreparedData, reason: str) -> MoreRows:
    told = {"used": False, "reason": reason}
    return MoreRows(data, None, {**told, "sentence": in_words(told)})


def _team(parts: Sequence[Part], data: PreparedData) -> Snapshot:
    weights = np.array([part.weight for part in parts])
    log_odds = np.stack([Predictor(part.snapshot).log_odds(data.val) for part in parts])
    threshold, metrics = final_metrics(data.val.y, expit(weights @ log_odds))
    config = parts[0].snapshot.documents["config"]
    return joined(parts, {**metrics, "threshold": threshold}, config)


def _taken(rows: Rows, chosen: npt.NDArray[np.bool_]) -> Rows:
    """Returns the chosen rows with all that is known of them (``Rows.take`` leaves some out)."""
    parts = {f.name: getattr(rows, f.name) for f in _FIELDS}
    picked: dict[str, Any] = {k: None if v is None else v[chosen] for k, v in parts.items()}
    return Rows(**picked)


def _together(first: Rows, second: Rows) -> Rows:
    """Returns the rows of both, with what is known of both."""
    pairs = {f.name: (getattr(first, f.name), getattr(second, f.name)) for f in _FIELDS}
    joint: dict[str, Any] = {
        name: None if a is None or b is None else np.ascontiguousarray(np.concatenate([a, b]))
        for name, (a, b) in pairs.items()
    }
    return Rows(**joint)
