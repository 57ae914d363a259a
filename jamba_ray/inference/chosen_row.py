"""Finds one row of a file: by its number, or the one with the highest score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from jamba_ray.errors import DataError
from jamba_ray.inference.model_rows import Matrices, model_files, model_frames, row_batches
from jamba_ray.inference.predictor import Predictor


@dataclass(frozen=True)
class ChosenRow:
    """Holds one row of a file."""

    number: int
    """Counted from 1 without the header, and continued over several files."""
    frame: pd.DataFrame
    """That one row, with the columns of the model."""
    matrices: Matrices
    """The same row as ``preprocessing.transform`` returned it."""
    score: float


def chosen_row(
    predictor: Predictor, path: str, columns: Sequence[str] = (), number: int | None = None
) -> ChosenRow:
    """Returns the row with this number, or the first one with the highest score.

    Raises:
        DataError: There is no such row, or the file does not fit the model.
    """
    preprocessing = predictor.preprocessing
    best: ChosenRow | None = None
    rows = 0
    files = model_files(path, columns, preprocessing)
    for _, batch in model_frames(row_batches(files, preprocessing), preprocessing):
        first, frame = rows + 1, batch
        rows += len(batch)
        if number is not None:
            if number > rows:
                continue
            first, frame = number, batch.iloc[[number - first]]
        x_num, x_cat = preprocessing.transform(frame)
        scores = predictor.score_matrices(x_num, x_cat)
        at = int(np.argmax(scores))
        if best is None or scores[at] > best.score:
            one = x_num[[at]], x_cat[[at]]
            best = ChosenRow(first + at, frame.iloc[[at]], one, float(scores[at]))
        if number is not None:
            break
    if best is not None:
        return best
    if number is None or not rows:
        raise DataError(f"{path} must have a row to explain, but has none; give another file.")
    raise DataError(
        f"{path} must have the row that is to be explained, but row {number:,} is beyond its "
        f"{rows:,} rows; give `row=` from 1 to {rows}."
    )
