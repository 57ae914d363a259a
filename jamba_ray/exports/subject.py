"""Holds the model that is exported, with the rows and scores that its export must repeat."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from jamba_ray.data import Preprocessor, Rows
from jamba_ray.errors import ConfigError
from jamba_ray.exports.parity_rows import Floats, hard_rows, splits_of
from jamba_ray.inference.model_rows import model_files, model_frames, row_batches
from jamba_ray.inference.predictor import Predictor, SavedModel


@dataclass(frozen=True)
class Limits:
    """Says what a quantised file may cost at most."""

    flip_rate: float
    loss: float


@dataclass(frozen=True)
class Subject:
    """Holds a model, rows [N] and what it says of them."""

    saved: SavedModel
    predictor: Predictor
    frame: pd.DataFrame
    real: int
    """How many of the rows are the user's; those that are made to be hard follow them."""
    scores: Floats
    labelled: Rows | None = None
    """The validation rows of the run; None: they cannot be read, or are not needed."""

    @property
    def thresholds(self) -> dict[str, float]:
        """Returns name -> threshold; ``default`` is always among them."""
        names = dict.fromkeys(("default", *self.predictor.thresholds))
        return {
            name: self.predictor.threshold_of(None if name == "default" else name)[0]
            for name in names
        }

    @property
    def families(self) -> list[str]:
        """Returns the family of the model, or those of a team's members."""
        from jamba_ray.inference.scorer import config_of
        from jamba_ray.inference.team import parts_of

        parts = parts_of(self.saved.snapshot)
        return [config_of(p.snapshot).model.name for p in parts] or [
            self.predictor.config.model.name
        ]

    @property
    def probabilities(self) -> Floats | None:
        """Returns the calibrated probabilities [N]; None: the model has no calibration."""
        calibration = self.predictor.calibration
        return None if calibration is None else calibration(self.scores)


def subject_of(saved: SavedModel, real: pd.DataFrame | None) -> Subject:
    """Makes the rows that are hard for this model, and scores all of them."""
    predictor = saved.predictor()
    preprocessing = predictor.preprocessing
    columns = list(preprocessing.columns)
    hard = hard_rows(real, preprocessing, splits_of(saved.snapshot, preprocessing))
    if real is None:
        frame = hard
    else:
        plain = {name: real[name].astype(object) for name in columns}
        frame = pd.concat([pd.DataFrame(plain), hard.astype(object)], ignore_index=True)
    return Subject(
        saved, predictor, frame, 0 if real is None else len(real), _scores(predictor, frame)
    )


def _scores(predictor: Predictor, frame: pd.DataFrame) -> Floats:
    return predictor.score_matrices(*predictor.preprocessing.transform(frame))


def rows_at(
    path: str, columns: Sequence[str], preprocessing: Preprocessor, most: int
) -> pd.DataFrame:
    """Returns rows of a file, folder or glob, evenly spread, at most about ``most``.

    Raises:
        DataError: It is no table with the columns of the model.
    """
    files = model_files(path, columns, preprocessing)
    kept: list[pd.DataFrame] = []
    every, seen = 1, 0
    for _, frame in model_frames(row_batches(files, preprocessing), preprocessing):
        kept.append(frame.iloc[-seen % every :: every].astype(object))
        seen += len(frame)
        while sum(map(len, kept)) > 2 * most:
            every *= 2
            kept = [pd.concat(kept, ignore_index=True).iloc[::2]]
    if not kept:
        return pd.DataFrame(columns=list(preprocessing.columns), dtype=object)
    whole = pd.concat(kept, ignore_index=True)
    chosen = np.linspace(0, len(whole) - 1, min(most, len(whole))).astype(np.int64)
    return whole.iloc[np.unique(chosen)].reset_index(drop=True)


def check_installed(what: str, packages: Mapping[str, str]) -> None:
    """Refuses a format whose packages are missing.

    Raises:
        ConfigError: Naming the extra that installs them.
    """
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(
            [
                f"{what} needs the package {missing[0]}, which is not installed. Run "
                f"`pip install 'jamba-ray[{packages[missing[0]]}]'`."
            ]
        )
