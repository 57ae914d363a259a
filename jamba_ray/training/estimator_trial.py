"""Trains a family that brings its own ``fit`` (``jamba_ray.estimators``)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from jamba_ray.checkpoints.snapshot import Snapshot
from jamba_ray.data.mapped_rows import side_by_side
from jamba_ray.data.prepared import PreparedData, Rows
from jamba_ray.errors import TrialError
from jamba_ray.estimators.estimator import (
    ARRAYS,
    DOCUMENT,
    ESTIMATORS,
    Columns,
    Task,
    check_installed,
    saved_in,
)
from jamba_ray.training.member import Member, Outcome, Reporter
from jamba_ray.training.rounds import Model, RoundTrial, log_loss, threads_of
from jamba_ray.training.snapshot_io import check_belongs
from jamba_ray.training.validation import MOST_JUDGED, sample

Floats = npt.NDArray[np.float64]


def fit_estimator(
    member: Member,
    data: PreparedData,
    report: Reporter,
    *,
    resume: Mapping[int, Snapshot] | None = None,
) -> Outcome:
    """Trains an estimator as ``training.fit`` trains networks, from its start also where it is
    resumed: it then makes the same reports again.

    Raises:
        CheckpointError: A snapshot in ``resume`` is of another configuration or other data.
        ConfigError: The family's package is not installed.
        TrialError: The settings do not suit the rows.
    """
    if (snapshot := (resume or {}).get(member.trial)) is not None:
        check_belongs(snapshot, member, data)
    check_installed([member.config.model.name])
    try:
        return EstimatorTrial(member, data, report).run()
    except (ValueError, ArithmeticError) as error:
        name = member.config.model.name
        raise TrialError(f"Trial {member.trial}: `{name}` cannot be trained: {error}") from error


class EstimatorTrial(RoundTrial):
    """Trains one trial of an estimator, which calls it whenever a report is due (``Watch``)."""

    kind = "estimator"

    def __init__(self, member: Member, data: PreparedData, report: Reporter) -> None:
        schema, model = data.schema, member.config.model
        columns = Columns(len(schema.numeric), schema.cardinalities)
        self._estimator = ESTIMATORS[model.name](model, columns)
        n_rounds, patience = self._estimator.n_rounds, self._estimator.patience_rounds
        super().__init__(member, data, report, None, n_rounds, patience)
        # The loss of all training rows would cost as much as a round on them.
        self._seen = sample(data.train, MOST_JUDGED)
        self._columns = columns

    def due(self, rounds: int) -> int:
        """Returns the rounds after which the next report is due."""
        return max(rounds + 1, self._next_report)

    def __call__(self, rounds: int, p: Floats) -> bool:
        """Reports; returns whether training goes on."""
        n_seen = len(self._seen)
        self._reached(rounds, p[n_seen:], log_loss(self._seen.y, p[:n_seen]))
        return not self._ended

    def _grow(self) -> None:
        self._estimator.fit(
            Task(
                x=side_by_side(self._data.train),
                y=self._data.train.y,
                judged=np.concatenate([side_by_side(self._seen), side_by_side(self._judged)]),
                threat_weight=self._threat_weight,
                seed=self._member.config.seed,
                n_threads=threads_of(self._data.train),
                watch=self,
            )
        )

    def _model(self) -> Model:
        saved = self._estimator.save(self._best_rounds)
        arrays = {f"{ARRAYS}{name}": array for name, array in saved.arrays.items()}
        return Model(arrays, {DOCUMENT: dict(saved.document)}, {})

    def _final_scores(self, snapshot: Snapshot, rows: Rows) -> Floats:
        """Scores with what the checkpoint holds, so that ``predict`` gives the same."""
        model = type(self._estimator)(self._member.config.model, self._columns)
        model.n_threads = threads_of(rows)
        model.load(saved_in(snapshot.tensors, snapshot.documents))
        return model.predict_proba(side_by_side(rows))
