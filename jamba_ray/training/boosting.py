"""Trains gradient-boosted trees (LightGBM) with the same reports, decisions and outcomes as
networks.

A trial makes as many reports as a network of the same ``training`` section, evenly spaced in
rounds; ``rows_seen`` counts as if the trees had been grown over the same epochs, so that one pruner
serves both. LightGBM continues a model bit for bit from its text, except for the generators that
draw rows and columns: where a trial draws, every report interval is a continuation with seeds of
its own, so that a resumed trial draws what an uninterrupted one does.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import lightgbm as lgb
import numpy as np
import numpy.typing as npt
import torch

from jamba_ray.checkpoints.snapshot import Snapshot
from jamba_ray.config.model import LightgbmSection
from jamba_ray.config.run import TrialConfig
from jamba_ray.config.training import TrainingSection
from jamba_ray.data.mapped_rows import side_by_side
from jamba_ray.data.prepared import PreparedData, Rows
from jamba_ray.errors import TrialError
from jamba_ray.models.lightgbm import lightgbm_params, threads_for
from jamba_ray.models.tree_text import read_trees
from jamba_ray.training.loss import threat_weight
from jamba_ray.training.member import (
    KEPT,
    Member,
    Outcome,
    Report,
    Reporter,
    Save,
    State,
    ending,
)
from jamba_ray.training.progress import Progress
from jamba_ray.training.row_order import mix
from jamba_ray.training.schedule import Timetable
from jamba_ray.training.snapshot_io import check_belongs, documents
from jamba_ray.training.validation import (
    MOST_JUDGED,
    final_metrics,
    judge,
    objective_value,
    sample,
)

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class RoundTable:
    """Decides after which boosting rounds reports are due."""

    n_rounds: int
    n_reports: int
    total_rows: int
    report_rows: int

    @classmethod
    def of(cls, section: TrainingSection, n_rows: int, n_rounds: int) -> RoundTable:
        """Makes a table of as many reports as a network makes, at most one a round."""
        report_rows = Timetable.of(section, n_rows).report_rows
        total_rows = max(1, round(section.epochs * n_rows))
        n_reports = min(math.ceil(total_rows / report_rows), n_rounds)
        return cls(n_rounds, n_reports, total_rows, report_rows)

    def rounds_at(self, step: int) -> int:
        """Returns the rounds done at report ``step``."""
        return math.ceil(self.n_rounds * step / self.n_reports)

    def rows_at(self, step: int) -> int:
        """Returns what ``rows_seen`` is at report ``step``."""
        return self.total_rows if step >= self.n_reports else step * self.report_rows


def fit_boosting(
    member: Member,
    data: PreparedData,
    report: Reporter,
    *,
    save: Save | None = None,
    resume: Mapping[int, Snapshot] | None = None,
) -> Outcome:
    """Trains trees as ``training.fit`` trains networks, on at most as many threads as torch may
    use.

    Raises:
        CheckpointError: A snapshot in ``resume`` is of another configuration or other data.
        TrialError: LightGBM refused.
    """
    snapshot = (resume or {}).get(member.trial)
    if snapshot is not None:
        check_belongs(snapshot, member, data)
    try:
        return Boosting(member, data, report, save, snapshot).run()
    except lgb.basic.LightGBMError as error:
        raise TrialError(f"Trial {member.trial}: LightGBM refused: {error}") from error


class Boosting:
    """Trains one trial of trees."""

    def __init__(
        self,
        member: Member,
        data: PreparedData,
        report: Reporter,
        save: Save | None,
        snapshot: Snapshot | None,
    ) -> None:
        self._member, self._data, self._report, self._save = member, data, report, save
        self._section = _section(member.config)
        training = member.config.training
        self._table = RoundTable.of(training, len(data.train), self._section.n_estimators)
        self._judged = sample(data.val, training.val_rows or MOST_JUDGED)
        self._params = self._parameters()
        self._train = self._dataset(data.train)
        self._val = self._dataset(self._judged, reference=self._train)
        self._progress, self._booster = Progress(), None
        if snapshot is not None:
            self._progress = Progress.from_json(snapshot.documents["state"])
            name = "current.txt" if "current.txt" in snapshot.blobs else "model.txt"
            n_features = data.train.x_num.shape[1] + data.train.x_cat.shape[1]
            self._booster = read_trees(snapshot.blobs.get(name, b""), n_features, name)
        self._state: State = "complete"
        self._reason: str | None = None
        self._ended = False

    def run(self) -> Outcome:
        """Runs all rounds and returns the outcome."""
        self._lap = time.perf_counter()
        while not self._ended and self._progress.batches < self._table.n_rounds:
            done = self._progress.batches
            to_report = self._table.rounds_at(self._progress.step + 1)
            last = to_report if self._draws else self._table.n_rounds
            self._booster = lgb.train(
                self._params | self._seeds(done),
                self._train,
                num_boost_round=last - done,
                valid_sets=[self._val],
                init_model=self._booster,
                callbacks=[self._after_round],
            )
        return self._outcome()

    # --- while trees grow ---------------------------------------------------------------------

    def _after_round(self, env: lgb.callback.CallbackEnv) -> None:
        """Reports where a report is due, and ends the trial where the decision says so; LightGBM
        calls it after a round."""
        rounds = env.iteration + 1
        if rounds < self._table.rounds_at(self._progress.step + 1):
            return
        self._booster = booster = cast(lgb.Booster, env.model)  # never a CVBooster: not lgb.cv
        self._progress.batches = rounds
        self._progress.rows_seen = self._table.rows_at(self._progress.step + 1)
        self._progress.goodput_s += self._clock()
        report = self._judge(booster)
        self._clock()
        if report is not None:
            self._act(report, booster)
        self._clock()
        if self._ended:
            raise lgb.EarlyStopException(env.iteration, [])

    def _judge(self, booster: lgb.Booster) -> Report | None:
        """Validates; returns None where the scores are not finite, which ends the trial as
        failed."""
        p_train, p_val = _scores(booster)
        progress = self._progress
        if not np.isfinite(p_val).all():
            self._end(
                "failed",
                f"Scores must be finite, but some are not after {progress.batches} rounds; lower "
                f"`model.learning_rate` ({self._section.learning_rate:g}).",
            )
            return None
        metrics = {
            "train/loss": _log_loss(self._data.train.y, p_train),
            **judge(self._member.config.objective, self._judged.y, p_val),
        }
        progress.judge(self._member.config.objective, metrics)
        return progress.report(self._member.trial, len(self._data.train), metrics)

    def _act(self, report: Report, booster: lgb.Booster) -> None:
        (decision,) = self._report([report])
        patience, stale = self._member.config.training.patience, self._progress.stale
        is_end = self._progress.batches >= self._table.n_rounds
        end = ending(decision, is_end, stale, patience)
        if end is not None:
            self._end(*end)
        if self._save is not None and (end is None or end[0] == "stopped"):
            self._save(self._member.trial, self._snapshot(booster))

    def _end(self, state: State, reason: str | None) -> None:
        self._ended, self._state, self._reason = True, state, reason

    # --- the end ------------------------------------------------------------------------------

    def _outcome(self) -> Outcome:
        progress, booster, value, checkpoint = self._progress, self._booster, None, None
        metrics: dict[str, float] = {}
        if self._state in KEPT and booster is not None:
            y = self._data.val.y
            p = booster.predict(
                side_by_side(self._data.val),
                num_iteration=self._best_rounds,
                num_threads=_threads(self._data.val),
            )
            scores: Floats = np.asarray(p, dtype=np.float64)
            threshold, metrics = final_metrics(y, scores)
            value = objective_value(self._member.config.objective, y, scores)
            self._clock()
            checkpoint = self._snapshot(booster, metrics, threshold)
        return Outcome(
            trial=self._member.trial,
            state=self._state,
            reason=self._reason,
            value=value,
            metrics=metrics,
            best_step=progress.best_step,
            rows_seen=progress.rows_seen,
            epochs=progress.rows_seen / len(self._data.train),
            seconds=progress.seconds,
            goodput_s=progress.goodput_s,
            checkpoint=checkpoint,
        )

    def _snapshot(
        self,
        booster: lgb.Booster,
        metrics: Mapping[str, float] | None = None,
        threshold: float | None = None,
    ) -> Snapshot:
        """Makes a snapshot: ``model.txt`` holds the best rounds, ``current.txt`` all of them
        where there are more."""
        shown = self._progress.metrics if metrics is None else metrics
        state = {"kind": "boosting", **self._progress.to_json(), "best_rounds": self._best_rounds}
        blobs = {"model.txt": booster.model_to_string(num_iteration=self._best_rounds).encode()}
        if self._best_rounds < self._progress.batches:
            blobs["current.txt"] = booster.model_to_string(num_iteration=-1).encode()
        return Snapshot(
            documents=documents(self._member, self._data, state, shown, threshold), blobs=blobs
        )

    @property
    def _best_rounds(self) -> int:
        return self._table.rounds_at(self._progress.best_step)

    def _clock(self) -> float:
        """Returns the seconds since the last call, and counts them as training time."""
        now = time.perf_counter()
        seconds, self._lap = now - self._lap, now
        self._progress.seconds += seconds
        return seconds

    # --- what LightGBM is given ---------------------------------------------------------------

    @property
    def _draws(self) -> bool:
        return self._section.subsample < 1.0 or self._section.colsample_bytree < 1.0

    def _seeds(self, done: int) -> dict[str, int]:
        # The model text lists its parameters: without draws they stay the same after a resume.
        seed, done = self._member.config.seed, done if self._draws else 0
        return {
            "bagging_seed": mix(seed, done, 1) % 2**31,
            "feature_fraction_seed": mix(seed, done, 2) % 2**31,
        }

    def _parameters(self) -> dict[str, Any]:
        config = self._member.config
        n_threads = _threads(self._data.train)
        params = lightgbm_params(self._section, seed=config.seed, n_threads=n_threads)
        share = float(self._data.train.y.mean(dtype=np.float64))
        weight = threat_weight(config.training.threat_weight, share)
        # Our own metrics judge; LightGBM's would be computed every round.
        return params | {"scale_pos_weight": weight, "metric": "None"}

    def _dataset(self, rows: Rows, reference: lgb.Dataset | None = None) -> lgb.Dataset:
        n_numeric = rows.x_num.shape[1]
        return lgb.Dataset(
            side_by_side(rows),
            rows.y,
            reference=reference,
            categorical_feature=list(range(n_numeric, n_numeric + rows.x_cat.shape[1])),
            params=self._params,
            free_raw_data=False,
        )


def _section(config: TrialConfig) -> LightgbmSection:
    if not isinstance(config.model, LightgbmSection):
        raise ValueError(f"boosting knows the family 'lightgbm' alone, not {config.model.name!r}")
    return config.model


def _threads(rows: Rows) -> int:
    n_columns = rows.x_num.shape[1] + rows.x_cat.shape[1]
    return threads_for(len(rows), n_columns, torch.get_num_threads())


def _scores(booster: lgb.Booster) -> tuple[Floats, Floats]:
    """Returns the probabilities of train and validation rows, which LightGBM keeps up to date by
    itself."""
    kept: list[Floats] = []

    def keep(scores: Floats, _: lgb.Dataset) -> tuple[str, float, bool]:
        kept.append(np.array(scores, dtype=np.float64))
        return "kept", 0.0, True

    booster.eval_train(feval=keep)
    booster.eval_valid(feval=keep)
    return kept[0], kept[1]


def _log_loss(y: npt.NDArray[np.float32], p: Floats) -> float:
    right = np.where(y == 1.0, p, 1.0 - p)
    return float(-np.log(np.maximum(right, np.finfo(np.float64).eps)).mean())
