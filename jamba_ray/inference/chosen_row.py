"""Finds one row of a file: by its number, or the one with the highest score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from jamba_ray.data.column_kinds import check_kinds
from jamba_ray.data.preprocessing import check_columns
from jamba_ray.data.row_batches import row_file
from jamba_ray.data.source import table_files
from jamba_ray.errors import DataError
from jamba_ray.inference.model_columns import as_inferred, kinds_of, model_frame
from jamba_ray.inference.predictor import Predictor


@dataclass(frozen=True)
class ChosenRow:
    """Holds one row of a file."""

    number: int
    """Counted from 1 without the header, and continued over several files."""
    frame: pd.DataFrame
    """That one row, with the columns of the model."""
    score: float


def chosen_row(
    predictor: Predictor, path: str, columns: Sequence[str] = (), number: int | None = None
) -> ChosenRow:
    """Returns the row with this number, or the first one with the highest score.

    Raises:
        DataError: There is no such row, or the file does not fit the model.
    """
    preprocessing = predictor.preprocessing
    numbers, texts = kinds_of(preprocessing)
    best: ChosenRow | None = None
    rows = 0
    for file in table_files(path):
        source = row_file(file, columns)
        check_columns(list(source.names), preprocessing.columns, str(file))
        is_first = True
        for batch in source.batches(numbers, texts):
            frame = model_frame(batch.columns, preprocessing)
            if is_first:
                check_kinds(as_inferred(frame, preprocessing), preprocessing, str(file))
                is_first = False
            if number is not None and number <= rows + len(frame):
                one = frame.iloc[[number - rows - 1]]
                return ChosenRow(number, one, _scores(predictor, one)[0])
            if number is None:
                scores = _scores(predictor, frame)
                at = max(range(len(scores)), key=scores.__getitem__)
                if best is None or scores[at] > best.score:
                    best = ChosenRow(rows + at + 1, frame.iloc[[at]], scores[at])
            rows += len(frame)
    if best is None:
        if number is None or not rows:
            raise DataError(f"{path} must have a row to explain, but has none; give another file.")
        raise DataError(
            f"{path} must have the row that is to be explained, but row {number:,} is beyond its "
            f"{rows:,} rows; give `row=` from 1 to {rows}."
        )
    return best


def _scores(predictor: Predictor, frame: pd.DataFrame) -> list[float]:
    matrices = predictor.preprocessing.transform(frame)
    scores: list[float] = predictor.score_matrices(*matrices).tolist()
    return scores
