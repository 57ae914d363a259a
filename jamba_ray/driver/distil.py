"""Trains one network on the scores of a team, so that one model does what the team does.

The network is the best of the search by its settings (Hinton et al. 2015, "Distilling the knowledge
in a neural network": the labels are the team's probabilities). Members know their training rows by
heart, so that half of the rows are made: a row in which some columns are those of another row
(as in Bucila et al. 2006, "Model compression").
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jamba_ray.checkpoints import Snapshot, write_checkpoint
from jamba_ray.config.direction import badness, direction_of, is_score, lead
from jamba_ray.config.family import FAMILIES, trains_alone
from jamba_ray.config.params import with_params
from jamba_ray.config.run import SweepConfig, TrialConfig
from jamba_ray.data.mapped_rows import MappedRows
from jamba_ray.data.prepared import PreparedData, Rows
from jamba_ray.driver.retraining import kept_model, trained
from jamba_ray.evaluation import compare
from jamba_ray.evaluation.objective import value_of_objective
from jamba_ray.inference import Predictor
from jamba_ray.runs.run_folder import RunFolder
from jamba_ray.study.records import TrialRecord
from jamba_ray.training import Member

_SWAPPED = 0.3
"""Share of the columns of a made row that are those of another one."""
_MOST_MADE = 200_000
_PLAIN = {
    "threat_weight": 1.0,
    "threat_share": None,
    "label_smoothing": 0.0,
    "focal_gamma": 0.0,
    "logit_adjustment": 0.0,
}
"""Settings that change labels or weigh them: a team's scores are what is to be learned."""


@dataclass(frozen=True)
class Distilled:
    """Holds the network, if it takes the team's place, and what is said of it."""

    snapshot: Snapshot | None
    summary: Mapping[str, Any]
    """``team.distilled`` of ``summary.json``."""


def distilled(
    config: SweepConfig,
    team: Snapshot,
    single: Predictor,
    data: PreparedData,
    folder: RunFolder,
    trials: Sequence[TrialRecord],
    phase: Callable[[str], object] = lambda words: None,
) -> Distilled:
    """Trains a network on the scores of ``team``; it is kept where it is at least as good on
    validation rows as ``single``, the best trial alone.

    Raises:
        StorageError: The disk does not take the model.
    """
    begun = time.monotonic()
    if isinstance(data.train, MappedRows):
        return _left("the rows lie on disk")
    phase("distilling the team into one network")
    teacher = Predictor(team)
    student = student_of(config, trials)
    weights = json.dumps([teacher.members, config.seed], sort_keys=True)
    rows = taught(data.train, teacher, config.seed)
    digest = hashlib.sha256(f"{data.fingerprint} taught by {weights}".encode()).hexdigest()[:16]
    lessons = dataclasses.replace(data, train=rows, fingerprint=digest)
    place, member = folder.certify / f"distilled-{digest}", Member(0, student)
    model = kept_model(place, member, lessons) or trained(member, lessons)
    if isinstance(model, str):
        return _left(model)
    write_checkpoint(model, place)
    p, q, alone = (one.score_rows(data.val) for one in (Predictor(model), teacher, single))
    value, best = (value_of_objective(config.objective, data.val.y, s) for s in (p, alone))
    beside = compare(data.val.y, p, q)
    key = config.objective if config.objective in beside else "average_precision"
    told = {
        "used": lead(value, best, direction_of(config.objective)) >= 0.0,
        "model": student.model.name,
        "metric": key,
        "value": value,
        "single": best,
        "cost": {name: beside[key][name] for name in ("value", "low", "high")},
        "members": len(teacher.members),
        "rows": len(rows),
        "seconds": time.monotonic() - begun,
    }
    return Distilled(model if told["used"] else None, {**told, "sentence": in_words(told)})


def in_words(told: Mapping[str, Any]) -> str:
    """Says what distilling cost, or why it was not done."""
    if "cost" not in told:
        return f"The team was not distilled: {told['reason']}."
    cost, metric = told["cost"], str(told["metric"]).replace("_", " ")
    beside = (
        f"{cost['value']:+.4f} [{cost['low']:+.4f}, {cost['high']:+.4f}] of {metric} beside the "
        "team on validation rows"
    )
    if told["used"]:
        return (
            f"The team of {told['members']} was distilled into one network (`{told['model']}`), "
            f"which is the winner: {beside}."
        )
    return (
        f"The team was not distilled: a network (`{told['model']}`) that learned its scores has "
        f"{told['value']:.4f}, less than the best single trial ({told['single']:.4f}), and "
        f"{beside}. `ensemble=false` takes that trial."
    )


def student_of(config: SweepConfig, trials: Sequence[TrialRecord]) -> TrialConfig:
    """Returns the best network of the search, or ``mlp`` with its defaults; without what changes
    labels."""
    direction = direction_of(config.objective)
    ranked = sorted(
        (badness(t.value or 0.0, direction), t.number, t)
        for t in trials
        if t.state == "complete" and is_score(t.value)
    )
    base = config.trial()
    for _, _, trial in ranked:
        found = with_params(base, trial.params)
        if not trains_alone(found.model.name):
            break
    else:
        found = base.model_copy(update={"model": FAMILIES["mlp"](name="mlp")})
    return found.model_copy(update={"training": found.training.model_copy(update=_PLAIN)})


def taught(train: Rows, teacher: Predictor, seed: int) -> Rows:
    """Returns the training rows and as many made ones, with the teacher's scores as labels."""
    rng = np.random.default_rng([seed, 7])
    own = rng.permutation(len(train))[:_MOST_MADE]
    other = rng.permutation(own)
    numbers, codes = train.x_num[own].copy(), train.x_cat[own].copy()
    for made, source in ((numbers, train.x_num), (codes, train.x_cat)):
        swapped = rng.random(made.shape) < _SWAPPED
        made[swapped] = source[other][swapped]
    x_num = np.concatenate([train.x_num, numbers])
    x_cat = np.concatenate([train.x_cat, codes])
    scores = teacher.score_matrices(x_num, x_cat).astype(np.float32)
    return Rows(x_num=x_num, x_cat=x_cat, y=scores)


def _left(reason: str) -> Distilled:
    told = {"used": False, "reason": reason}
    return Distilled(None, {**told, "sentence": in_words(told)})
