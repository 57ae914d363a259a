"""Trains gradient-boosted trees with LightGBM.

LightGBM continues a model bit for bit from its text, except for the generators that draw rows and
columns: where a trial draws, every report interval is a continuation with seeds of its own, so that
a resumed trial draws what an uninterrupted one does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import lightgbm as lgb
import numpy as np
import numpy.typing as npt

from jamba_ray.checkpoints.snapshot import Snapshot
from jamba_ray.config.model import LightgbmSection
from jamba_ray.config.run import TrialConfig
from jamba_ray.data.mapped_rows import side_by_side
from jamba_ray.data.prepared import PreparedData, Rows
from jamba_ray.errors import TrialError
from jamba_ray.models.lightgbm import lightgbm_params
from jamba_ray.models.tree_text import read_trees
from jamba_ray.training.member import Member, Outcome, Reporter, Save
from jamba_ray.training.progress import Progress
from jamba_ray.training.rounds import Model, RoundTrial, log_loss, threads_of
from jamba_ray.training.row_order import mix
from jamba_ray.training.snapshot_io import check_belongs

Floats = npt.NDArray[np.float64]


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


class Boosting(RoundTrial):
    """Trains one trial of LightGBM's trees."""

    kind = "boosting"

    def __init__(
        self,
        member: Member,
        data: PreparedData,
        report: Reporter,
        save: Save | None,
        snapshot: Snapshot | None,
    ) -> None:
        self._section = _section(member.config)
        super().__init__(member, data, report, save, self._section.n_estimators)
        self._params = self._parameters()
        self._train = self._dataset(data.train)
        self._val = self._dataset(self._judged, reference=self._train)
        self._booster: lgb.Booster | None = None
        if snapshot is not None:
            self._progress = Progress.from_json(snapshot.documents["state"])
            self._progress.keeps_last = member.keeps_last
            name = "current.txt" if "current.txt" in snapshot.blobs else "model.txt"
            n_features = data.train.x_num.shape[1] + data.train.x_cat.shape[1]
            self._booster = read_trees(snapshot.blobs.get(name, b""), n_features, name)

    def _grow(self) -> None:
        while not self._ended and self._progress.batches < self._table.n_rounds:
            done = self._progress.batches
            last = self._next_report if self._draws else self._table.n_rounds
            self._booster = lgb.train(
                self._params | self._seeds(done),
                self._train,
                num_boost_round=last - done,
                valid_sets=[self._val],
                init_model=self._booster,
                callbacks=[self._after_round],
            )

    def _after_round(self, env: lgb.callback.CallbackEnv) -> None:
        """Reports where a report is due; LightGBM calls it after a round."""
        if env.iteration + 1 < self._next_report:
            return
        self._booster = booster = cast(lgb.Booster, env.model)  # never a CVBooster: not lgb.cv
        p_train, p_val = _scores(booster)
        self._reached(env.iteration + 1, p_val, log_loss(self._data.train.y, p_train))
        if self._ended:
            raise lgb.EarlyStopException(env.iteration, [])

    def _model(self) -> Model:
        """Returns the trees as text: ``model.txt`` holds the best rounds, ``current.txt`` all of
        them where there are more."""
        booster = cast(lgb.Booster, self._booster)
        blobs = {"model.txt": booster.model_to_string(num_iteration=self._best_rounds).encode()}
        if self._best_rounds < self._progress.batches:
            blobs["current.txt"] = booster.model_to_string(num_iteration=-1).encode()
        return Model({}, {}, blobs)

    def _final_scores(self, snapshot: Snapshot, rows: Rows) -> Floats:
        p = cast(lgb.Booster, self._booster).predict(
            side_by_side(rows),
            num_iteration=self._best_rounds,
            num_threads=threads_of(rows),
        )
        return np.asarray(p, dtype=np.float64)

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
        n_threads = threads_of(self._data.train)
        params = lightgbm_params(self._section, seed=config.seed, n_threads=n_threads)
        # Our own metrics judge; LightGBM's would be computed every round.
        return params | {"scale_pos_weight": self._threat_weight, "metric": "None"}

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
