"""Trains the best configurations of a sweep again with further seeds until it is known which is
better (``evaluation.certainty`` decides), or until its share of the sweep's time is used up.

The models of the search do not count: they were chosen because they did well, also by chance. All
is a function of the study, its checkpoints and the times kept in ``certify/state.json``, so that a
run that was killed meanwhile ends with the same answer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jamba_ray.checkpoints import Snapshot
from jamba_ray.config.certify import CertifySection
from jamba_ray.config.direction import badness, direction_of, is_score
from jamba_ray.config.model import LightgbmSection
from jamba_ray.config.run import TrialConfig
from jamba_ray.data.prepared import PreparedData
from jamba_ray.driver.retraining import Retraining, Wanted
from jamba_ray.driver.team import halves_of, some_rows
from jamba_ray.errors import CheckpointError
from jamba_ray.evaluation.bootstrap import too_few
from jamba_ray.evaluation.certainty import (
    Compared,
    Replicate,
    compared,
    first_look,
    hopeless,
    levels,
    replicate,
)
from jamba_ray.evaluation.counts import Floats
from jamba_ray.inference import Predictor
from jamba_ray.runs.run_folder import RunFolder
from jamba_ray.study.records import TrialRecord

_CHEAPER = 0.8
"""A configuration is cheaper than another if it trains in this share of its time."""


@dataclass(frozen=True)
class _Contender:
    name: str
    trial: int | None
    config: TrialConfig
    seconds: float
    """What one model takes to train."""
    swept: Replicate
    """The model that the sweep has of it."""

    @property
    def is_seeded(self) -> bool:
        return is_seeded(self.config)

    def to_json(self) -> dict[str, Any]:
        known = {"trial": self.trial} if self.trial is not None else {}
        return {**known, "model": self.config.model.name, "seconds": self.seconds}


def is_seeded(config: TrialConfig) -> bool:
    """Says whether a configuration gives another model with another seed."""
    model = config.model
    if isinstance(model, LightgbmSection):
        return model.subsample < 1.0 or model.colsample_bytree < 1.0
    return model.name != "logistic"


class Certification:
    """Compares the winner with the next best configurations and with the baseline."""

    def __init__(
        self,
        settings: CertifySection,
        objective: str,
        data: PreparedData,
        folder: RunFolder,
        trials: Sequence[TrialRecord],
        search_s: float,
        phase: Callable[[str], object] = lambda words: None,
    ) -> None:
        """Trains nothing yet; ``search_s`` is the time that the search of ``trials`` took, and
        ``phase`` is called with words for what a user waits for."""
        self._settings, self._objective, self._data = settings, objective, data
        self._store = folder.checkpoint_store()
        self._retraining = Retraining(data, folder, search_s, len(trials), phase)
        self._trials = trials
        self._rows = some_rows(data.val)
        self._labels = self._rows.y == 1.0
        self._halves = halves_of(self._rows, data.train)
        self._replicates: dict[str, Replicate] = {}
        self._models: dict[str, Snapshot] = {}
        self._log_odds: dict[str, Floats] = {}
        self._too_few = too_few(self._rows.y)
        self._found: list[dict[str, Any]] = []
        self._leader: _Contender | None = None
        self._first: int | None = None
        self._n_chosen_from = max(1, sum(map(_counts, trials)))

    def winner(self, best: TrialRecord) -> TrialRecord:
        """Returns the trial that is the winner: ``best``, or another that is surely better, or
        surely equal and cheaper.

        Raises:
            CheckpointError: The checkpoint of ``best`` is gone or damaged.
            StorageError: The disk does not take a model.
        """
        self._first = best.number
        others = distinct(best, self._trials, self._objective, self._settings.top - 1)
        if self._too_few is not None:
            return best
        self._leader = self._contender(best)
        found = [(t, one) for t in others if (one := self._contender_or_none(t)) is not None]
        n_pairs = len(found) * (len(found) + 1) // 2
        taken = best
        for trial, other in found:
            told, result = self._compare(self._leader, other, n_pairs + 1, 1)
            if replaces(result, self._leader.seconds, other.seconds):
                told["taken"], taken, self._leader = trial.number, trial, other
        return taken

    def against(self, family: str, model: Snapshot) -> None:
        """Compares the winner with the baseline ``model`` of ``family``."""
        if self._leader is None:
            return
        config = Predictor(model).config
        seconds = float(model.documents["state"]["seconds"])
        other = _Contender(family, None, config, seconds, self._scored(family, model))
        self._compare(self._leader, other, len(self._found) + 1, self._n_chosen_from)

    def seeds_of_winner(self) -> list[tuple[Snapshot, Floats]]:
        """Returns the further models of the winner, which may be in a team, with their log-odds on
        ``some_rows`` of validation."""
        if self._leader is None:
            return []
        prefix = f"{self._leader.name}-seed-"
        return [
            (model, self._log_odds[name])
            for name, model in self._models.items()
            if name.startswith(prefix)
        ]

    def log_odds_of_trials(self) -> dict[int, Floats]:
        """Returns trial -> the log-odds of its model on the same rows, where they were needed."""
        found = {t.number: self._log_odds.get(f"trial-{t.number}") for t in self._trials}
        return {number: known for number, known in found.items() if known is not None}

    def summary(self) -> dict[str, Any]:
        """Returns ``certification`` of ``summary.json``; its sentences are made of it."""
        return {
            "settings": self._settings.model_dump(mode="json"),
            "leader": self._first,
            "taken": None if self._leader is None else self._leader.trial,
            "too_few": self._too_few,
            "comparisons": self._found,
            "search_s": self._retraining.search_s,
            "seconds": self._retraining.spent_s,
        }

    # --- one comparison -----------------------------------------------------------------------

    def _compare(
        self, a: _Contender, b: _Contender, n_comparisons: int, n_chosen_from: int
    ) -> tuple[dict[str, Any], Compared | None]:
        told: dict[str, Any] = {"a": a.to_json(), "b": b.to_json(), "verdict": "open"}
        self._found.append(told)
        seeded = [one for one in (a, b) if one.is_seeded]
        first = first_look(len(seeded))
        # A claim from rows alone would need no looks: this is the widest that one look may be.
        spent = levels(n_comparisons, 1, n_chosen_from)
        units = self._n_units()
        margin = self._settings.margin
        alone = compared([a.swept], [b.swept], self._objective, units, spent, margin)
        if hopeless(alone):
            told |= {"why": "rows", "seeds": [0, 0], **_interval(alone)}
            return told, None
        key = " ".join([a.name, b.name, self._settings.model_dump_json()])
        planned = self._retraining.plan(key, lambda: self._affordable(seeded, first))
        if planned < first:
            cost = sum(one.seconds for one in seeded) * first
            share = (self._retraining.spent_s + cost) / max(self._retraining.search_s, 1e-9)
            told |= {"why": "budget", "seeds": [0, 0], "needs_s": cost}
            told["needs_share"] = math.ceil(share * 10.0) / 10.0
            return told, None
        spent = levels(n_comparisons, planned - first + 1, n_chosen_from)
        result: Compared | None = None
        for n in range(first, planned + 1):
            if (failed := self._train(seeded, n)) is not None:
                told |= {"why": "failed", "seeds": [0, 0], **failed}
                return told, None
            result = compared(
                self._side(a, n),
                self._side(b, n),
                self._objective,
                units,
                spent,
                margin,
            )
            told |= {"verdict": result.verdict, **_interval(result)}
            told |= {"seeds": [n if one.is_seeded else 0 for one in (a, b)]}
            if result.verdict != "open":
                break
            told["why"] = "seeds" if result.more_seeds_help else "rows"
            if not result.more_seeds_help:
                break
        if result is not None and result.verdict != "open":
            told.pop("why", None)
        return told, result

    def _affordable(self, seeded: Sequence[_Contender], first: int) -> int:
        """Returns the seeds of each that may be trained within the share of time."""
        if not seeded:
            return first
        settings, times = self._settings, self._retraining
        left = settings.max_share * times.search_s - times.spent_s
        n = 0
        while n < settings.seeds:
            wanted = [w for one in seeded for w in _wanted(one, n + 1)]
            missing = {w.folder for w in self._retraining.missing(wanted)}
            cost = sum(
                one.seconds for one in seeded for w in _wanted(one, n + 1) if w.folder in missing
            )
            if cost > left:
                break
            n += 1
        return n

    def _train(self, seeded: Sequence[_Contender], n: int) -> dict[str, str] | None:
        """Trains up to the ``n``-th seed of each; returns whose training failed, and why."""
        wanted = [w for one in seeded for w in _wanted(one, n)]
        self._retraining.train(wanted)
        for one in wanted:
            if (model := self._retraining.read(one)) is None:
                reason = self._retraining.failures.get(one.name, "its model cannot be read")
                return {"failed": one.name, "reason": reason}
            self._models[one.folder] = model
        return None

    def _side(self, one: _Contender, n: int) -> list[Replicate]:
        if not one.is_seeded:
            return [one.swept]
        return [self._scored(w.folder, self._models[w.folder]) for w in _wanted(one, n)]

    # --- models -------------------------------------------------------------------------------

    def _contender(self, trial: TrialRecord) -> _Contender:
        model = self._store.load(trial.checkpoint or "")
        name = f"trial-{trial.number}"
        seconds = trial.goodput_s or trial.seconds
        config = Predictor(model).config
        return _Contender(name, trial.number, config, seconds, self._scored(name, model))

    def _contender_or_none(self, trial: TrialRecord) -> _Contender | None:
        try:
            return self._contender(trial)
        except CheckpointError:
            return None  # it was not kept

    def _scored(self, name: str, model: Snapshot) -> Replicate:
        if name not in self._replicates:
            self._log_odds[name] = log_odds = Predictor(model).log_odds(self._rows)
            self._replicates[name] = replicate(
                self._labels, log_odds, self._halves, self._objective
            )
        return self._replicates[name]

    def _n_units(self) -> int:
        return min(len(np.unique(self._halves.unit[self._labels == of])) for of in (False, True))


def distinct(
    best: TrialRecord, trials: Sequence[TrialRecord], objective: str, most: int
) -> list[TrialRecord]:
    """Returns the next best complete trials whose configurations, seeds aside, are others."""
    direction = direction_of(objective)
    ranked = sorted(
        (t for t in trials if _counts(t) and t.checkpoint),
        key=lambda t: (badness(t.value or 0.0, direction), t.number),
    )
    seen, found = [_configuration(best)], []
    for trial in ranked:
        if (own := _configuration(trial)) not in seen:
            seen.append(own)
            found.append(trial)
    return found[:most]


def replaces(found: Compared | None, a_s: float, b_s: float) -> bool:
    """Says whether B is taken for A: it is surely better, or surely not worse and cheaper to train
    (in ``a_s`` and ``b_s`` seconds)."""
    if found is None:
        return False
    if found.verdict == "worse":
        return True
    return found.verdict in ("equal", "not_better") and b_s < _CHEAPER * a_s


def _counts(trial: TrialRecord) -> bool:
    return trial.state == "complete" and is_score(trial.value)


def _configuration(trial: TrialRecord) -> dict[str, Any]:
    return {path: value for path, value in trial.params.items() if path != "seed"}


def _wanted(one: _Contender, n: int) -> list[Wanted]:
    return [Wanted(one.name, one.config, seed, one.seconds) for seed in range(1, n + 1)]


def _interval(found: Compared) -> dict[str, float]:
    return {"value": found.value, "low": found.low, "high": found.high}
