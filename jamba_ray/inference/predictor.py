"""Loads a checkpoint from disk and computes probabilities for a DataFrame."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from jamba_ray.checkpoints import RemoteFolder, Snapshot, read_checkpoint, read_published
from jamba_ray.checkpoints.manifest import MANIFEST
from jamba_ray.checkpoints.thresholds import (
    FILE,
    beside,
    beside_remote,
    chosen,
    promise_of,
    read_calibration,
    read_thresholds,
)
from jamba_ray.config import plugin_modules
from jamba_ray.config.names import nearest
from jamba_ray.config.store_uri import StoreUri, parse_store
from jamba_ray.data import Rows
from jamba_ray.data.column_kinds import check_kinds
from jamba_ray.data.header import tidy_names
from jamba_ray.errors import CheckpointError, ConfigError, DataError, NoRunError
from jamba_ray.evaluation.calibration import Calibration
from jamba_ray.inference.contributions import PAIRS, Contributions, contributions
from jamba_ray.inference.predict_file import Scored, predict_file
from jamba_ray.inference.reasons import reasons_of
from jamba_ray.inference.scorer import (
    Probabilities,
    Slope,
    checked,
    config_of,
    document,
    label_rule_of,
    preprocessing_of,
    scorer_of,
    slope_of,
)
from jamba_ray.inference.team import parts_of, weights_of

_CHUNK_ROWS = 65_536
"""Rows prepared at a time, which limits the memory needed in addition to the DataFrame."""
_DEFAULT_THRESHOLD = 0.5
_SHOWN = 20
"""Names of columns that a notebook lists."""


class Predictor:
    """Scores rows with a trained model of any family, its preprocessing and its threshold."""

    def __init__(
        self,
        snapshot: Snapshot,
        device: str = "cpu",
        thresholds: Mapping[str, Mapping[str, Any]] | None = None,
        calibration: Mapping[str, Any] | None = None,
    ) -> None:
        """Raises CheckpointError if the snapshot is not that of a whole model."""
        self.config = config_of(snapshot)
        """The trial's configuration."""
        self.preprocessing = preprocessing_of(snapshot)
        """Converts the user's columns into the model's; ``.columns`` names the required ones."""
        self.label_rule = label_rule_of(snapshot)
        """The rule that read the labels of training; None: the labels were 0 and 1."""
        metrics = document(snapshot, "metrics")
        self.metrics: Mapping[str, float] = {
            k: float(v) for k, v in metrics.items() if k != "threshold" and v is not None
        }
        """'val/<metric>' -> value on the validation rows."""
        threshold: Any = metrics.get("threshold")
        self._best_f1 = _DEFAULT_THRESHOLD if threshold is None else float(threshold)
        self.thresholds: Mapping[str, Mapping[str, Any]] = thresholds or {}
        """The thresholds that ``jamba_ray.threshold`` saved with the model, by name."""
        self.threshold, _ = self.threshold_of(None)
        """The lowest probability that counts as a threat: the saved threshold ``default``, else the
        best F1 on validation rows; 0.5 in checkpoints of unfinished trials."""
        self.calibration = None if calibration is None else _calibration(calibration)
        """The map from scores to probabilities that ``jamba_ray.threshold`` saved with the model;
        None: it saved none."""
        self.fingerprints: Mapping[str, str] = dict(snapshot.documents.get("fingerprints", {}))
        """The fingerprints of the 'config', 'data' and 'code' that produced the model."""
        self._score = scorer_of(snapshot, self.config, self.preprocessing.schema, device)
        parts = parts_of(snapshot)
        self.n_models = max(1, len(parts))
        """The models that score each row: those of a team, else one."""
        self.members: Mapping[int, float] = weights_of(parts)
        """Trial -> its weight in the team; empty where the model is a single one."""

    def __repr__(self) -> str:
        columns = self.preprocessing.columns
        objective = f"val/{self.config.objective}"
        score = f", {objective} {self.metrics[objective]:.4f}" if objective in self.metrics else ""
        n = self.n_models
        what = f"team of {n}" if n > 1 else self.config.model.name
        return f"Predictor({what}: {len(columns)} columns, threshold {self.threshold:.4g}{score})"

    def _repr_html_(self) -> str:
        _, what = self.threshold_of(None)
        columns = self.preprocessing.columns
        listed = ", ".join(columns[:_SHOWN]) + (", ..." if len(columns) > _SHOWN else "")
        rows = {
            "model": self.config.model.name,
            "columns": f"{len(columns)}: {listed}",
            "threshold": f"{self.threshold:.6g}, {what}",
            **{name: f"{value:.4f}" for name, value in self.metrics.items()},
        }
        cells = (f"<tr><th>{escape(k)}</th><td>{escape(v)}</td></tr>" for k, v in rows.items())
        return f"<b>Predictor</b><table>{''.join(cells)}</table>"

    def predict_proba(self, frame: pd.DataFrame) -> Probabilities:
        """Returns the probability of a threat for each row: float64 [N] in [0, 1], never NaN.

        The frame must have the columns of training, in any order and with or without outer spaces
        in their names; other columns, including the target, are ignored. Single cells may have any
        value (``Preprocessor.transform`` says how they are read).

        Raises:
            DataError: It is no DataFrame, or columns are missing, duplicated or hold text where
                training had numbers; the message names them.
            TrialError: The model returns values that are not finite.
        """
        frame = self._checked(frame)
        parts = [
            self._score(*self.preprocessing.transform(frame.iloc[i : i + _CHUNK_ROWS]))
            for i in range(0, max(len(frame), 1), _CHUNK_ROWS)
        ]
        return checked(np.concatenate(parts))

    def probabilities(self, scores: npt.ArrayLike, prior: float | None = None) -> Probabilities:
        """Returns calibrated probabilities [N] of scores [N] (what ``predict_proba`` returns).

        Thresholds are of the scores. ``prior`` is the share of threats among the rows to come,
        where it is not that of the rows of training.

        Raises:
            ConfigError: No calibration is saved with the model.
        """
        if self.calibration is None:
            raise ConfigError(
                [
                    "a probability needs the calibration that jamba_ray.threshold saves with the "
                    "model, but there is none. Choose a threshold first, such as `jamba-ray "
                    "threshold <run> max_fpr=0.01`"
                ]
            )
        return self.calibration(scores, prior)

    def score_matrices(
        self, x_num: npt.NDArray[np.float32], x_cat: npt.NDArray[np.int64]
    ) -> Probabilities:
        """Returns the probabilities for the matrices that ``preprocessing.transform`` returned."""
        return checked(self._score(x_num, x_cat))

    def explain(self, frame: pd.DataFrame, k: int = 3) -> pd.DataFrame:
        """Returns the ``k`` columns that push the score of each row most, strongest first.

        Columns: ``row`` (the frame's index), ``rank`` (from 1), ``column``, ``value`` and
        ``log_odds`` (its contribution; above 0 it pushes towards a threat). Columns that contribute
        nothing are left out. ``contributions`` returns those of all columns.

        Raises the errors of ``predict_proba``.
        """
        checked_rows = self._checked(frame)
        found = reasons_of(checked_rows, self.contributions(frame), k)
        rows = [
            (index, rank, one.column, one.value, one.log_odds)
            for index, reasons in zip(checked_rows.index, found, strict=True)
            for rank, one in enumerate(reasons, 1)
        ]
        return pd.DataFrame(rows, columns=["row", "rank", "column", "value", "log_odds"])

    def contributions(self, frame: pd.DataFrame) -> Contributions:
        """Returns what each column contributes to the log-odds of each row.

        ``values.sum(axis=1) + base`` are the log-odds of ``predict_proba``. Raises its errors.
        """
        return self.contributions_of(*self.preprocessing.transform(self._checked(frame)))

    def contributions_of(
        self, x_num: npt.NDArray[np.float32], x_cat: npt.NDArray[np.int64], pairs: int = PAIRS
    ) -> Contributions:
        """Returns the contributions for the matrices that ``preprocessing.transform`` returned.

        ``pairs`` is the number of sampled pairs of orders, which networks need.
        """
        return contributions(self._score, self.preprocessing, (x_num, x_cat), pairs)

    def _checked(self, rows: Any) -> pd.DataFrame:
        """Returns ``rows`` as a checked DataFrame with the column names that a file would have."""
        columns = self.preprocessing.columns
        if not isinstance(rows, pd.DataFrame):
            listed = ", ".join(map(repr, columns[:3])) + (", ..." if len(columns) > 3 else "")
            raise DataError(
                "rows to score must be a pandas DataFrame with the columns of training, but are "
                f"of the type {type(rows).__name__}; give pandas.DataFrame(rows, "
                f"columns=[{listed}])."
            )
        frame: pd.DataFrame = rows
        names = [str(name) for name in frame.columns]
        if len(set(names)) == len(names):
            frame = frame.set_axis(tidy_names(names), axis=1)
        check_kinds(frame, self.preprocessing, "the rows")
        return frame

    def predict(self, frame: pd.DataFrame) -> npt.NDArray[np.int64]:
        """Returns 1 where the probability is at least ``threshold``, else 0: [N].

        Raises the errors of ``predict_proba``.
        """
        return (self.predict_proba(frame) >= self.threshold).astype(np.int64)

    def threshold_of(self, name: str | None) -> tuple[float, str]:
        """Returns the threshold of a saved name or a number, and its description in words.

        None: ``default``, else the best F1. Raises ConfigError where no threshold has this name.
        """
        return chosen(self.thresholds, name, self._best_f1)

    def promise_of(self, name: str | None) -> dict[str, Any] | None:
        """Returns what ``threshold`` promised of the saved threshold of this name (None:
        ``default``), with ``holds`` and ``sentence``; None where it promised nothing."""
        return promise_of(self.thresholds.get("default" if name is None else name, {}))

    def predict_file(
        self,
        path: str | os.PathLike[str],
        output: str | os.PathLike[str],
        *,
        threshold: str | float | None = None,
        columns: Sequence[str] = (),
        explain: int = 0,
        probability: bool = False,
        prior: float | None = None,
        overwrite: bool = False,
    ) -> Scored:
        """Scores a file, folder or glob into a file, in constant memory.

        Takes the arguments of ``jamba_ray.inference.predict_file``.
        """
        return predict_file(
            self,
            path,
            output,
            threshold=threshold,
            columns=columns,
            explain=explain,
            probability=probability,
            prior=prior,
            overwrite=overwrite,
        )

    def log_odds_of(
        self, x_num: npt.NDArray[np.float32], x_cat: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.float64]:
        """Returns the log-odds [N] for the matrices that ``preprocessing.transform`` returned."""
        return self._score.log_odds(x_num, x_cat)

    @property
    def slope(self) -> Slope | None:
        """Returns how the log-odds change with each numeric feature; None: the family has no
        slope."""
        return slope_of(self._score)

    def log_odds(self, rows: Rows) -> npt.NDArray[np.float64]:
        """Returns the log-odds [N] of prepared rows; not finite where the model has diverged."""
        return self._score.log_odds(rows.x_num, rows.x_cat)

    def score_rows(self, rows: Rows) -> Probabilities:
        """Returns the probabilities of rows that this preprocessing has prepared already."""
        return checked(self._score(rows.x_num, rows.x_cat))


@dataclass(frozen=True)
class SavedModel:
    """Holds a model as it was saved: its checkpoint, and what ``threshold`` saved beside it."""

    snapshot: Snapshot
    thresholds: Mapping[str, Mapping[str, Any]]
    calibration: Mapping[str, Any] | None

    def predictor(self, device: str = "cpu") -> Predictor:
        """Makes the predictor; raises CheckpointError if it is not that of a whole model."""
        return Predictor(self.snapshot, device, self.thresholds, self.calibration)


def load(
    path: str | os.PathLike[str], device: str = "cpu", *, plugins: Sequence[str] = ()
) -> Predictor:
    """Returns the predictor in a checkpoint folder, a run's ``best/``, or a run folder (its
    ``best/``), with the ``plugins`` that it needs imported first.

    A run in a bucket is given as an ``s3://`` or ``gs://`` URI (for a store at another address, set
    AWS_ENDPOINT_URL). Every byte is verified first, and nothing in the files can run code.

    Raises:
        CheckpointError: A file is missing or damaged; the message names it.
        ConfigError: It needs a plug-in that is not given, or one that is cannot be imported.
        StorageError: The bucket refuses the request.
    """
    plugin_modules.load(plugins)
    return read_model(path).predictor(device)


def read_model(path: str | os.PathLike[str]) -> SavedModel:
    """Reads and verifies the model that ``load`` returns; raises its errors."""
    if "://" in (text := os.fspath(path)):
        try:
            place = parse_store(text)
        except ValueError as error:
            raise CheckpointError(f"The URI of a checkpoint is one of a store: {error}.") from error
        if isinstance(place, StoreUri):
            remote = RemoteFolder(place)
            snapshot = read_published(remote)
            raw, digest, prefix = beside_remote(remote)
            where = f"{place}/{prefix}".rstrip("/")
            return SavedModel(snapshot, read_thresholds(raw, digest, where), read_calibration(raw))
        path = place
    folder = find_checkpoint(Path(path))
    snapshot = read_checkpoint(folder)[1]
    raw, digest = beside(folder)
    thresholds = read_thresholds(raw, digest, str(folder))
    return SavedModel(snapshot, thresholds, read_calibration(raw))


def _calibration(saved: Mapping[str, Any]) -> Calibration:
    try:
        return Calibration.from_json(saved)
    except ValueError as error:
        raise CheckpointError(
            f"The calibration in `{FILE}` must be sound, but {error}; delete the file and choose "
            "thresholds again with jamba_ray.threshold."
        ) from error


def find_checkpoint(path: Path) -> Path:
    """Returns the checkpoint folder at ``path`` or in its ``best/``.

    Raises:
        NoRunError: There is none.
    """
    for folder in (path, path / "best"):
        if (folder / MANIFEST).exists():
            return folder
    what = "lacks that" if path.is_dir() else "is no folder" if path.exists() else "does not exist"
    runs = [best.parent.name for best in path.resolve().parent.glob("*/best")]
    close = nearest(path.name, runs)
    raise NoRunError(
        f"{path} must be a run with a `best/`, or a checkpoint (a folder with `{MANIFEST}`), but "
        f"{what}{close or '. Give the run folder of a finished sweep, such as `runs/<run>`.'}"
    )


def score_rows(model: Predictor | Snapshot, rows: Rows, device: str = "cpu") -> Probabilities:
    """Returns the probability of a threat for prepared rows: float64 [N], never NaN.

    A ``Predictor`` keeps its own device. Raises the errors of its methods.
    """
    predictor = model if isinstance(model, Predictor) else Predictor(model, device)
    return predictor.score_rows(rows)
