"""Names the columns that push a score most, with their values, for people and for files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa  # type: ignore[import-untyped]

from jamba_ray.data.row_batches import csv_cell
from jamba_ray.inference.contributions import Contributions, Ints

KIND = pa.struct(
    [("column", pa.string()), ("value", pa.string()), ("log_odds", pa.float64())]
)  # fmt: skip
"""A reason in Parquet."""
_MOST_LETTERS = 60


@dataclass(frozen=True)
class Reason:
    """Says how much one column moves the score of one row."""

    column: str
    value: Any
    """The cell; None where it is missing."""
    log_odds: float
    """Its contribution: above 0 it pushes towards a threat."""

    def __str__(self) -> str:
        """Returns ``bytes=1200 (+1.23)``."""
        return f"{self.column}={in_words(self.value)} ({self.log_odds:+.2f})"


def reasons_of(frame: pd.DataFrame, found: Contributions, k: int) -> list[list[Reason]]:
    """Returns the ``k`` strongest reasons of each row, strongest first.

    Columns that move a row's score by nothing are left out.
    """
    order = found.strongest(k)
    cells = {
        j: frame[found.columns[j]].astype(object).to_numpy() for j in np.unique(order).tolist()
    }
    return [
        [
            Reason(found.columns[j], _plain(cells[j][row]), float(found.values[row, j]))
            for j in order[row].tolist()
            if found.values[row, j] != 0.0
        ]
        for row in range(len(order))
    ]


def reason_columns(
    reasons: Sequence[Sequence[Reason]], at: Ints, n_rows: int, k: int
) -> list[pa.Array]:
    """Returns ``k`` columns of ``n_rows`` reasons of ``KIND``, null but for the rows ``at``."""
    columns = []
    for rank in range(k):
        cells: list[dict[str, Any] | None] = [None] * n_rows
        for row, found in zip(at.tolist(), reasons, strict=True):
            if rank < len(found):
                one = found[rank]
                cells[row] = {
                    "column": one.column,
                    "value": None if one.value is None else in_words(one.value),
                    "log_odds": one.log_odds,
                }
        columns.append(pa.array(cells, KIND))
    return columns


def as_text(column: pa.Array) -> pa.Array:
    """Returns a column of ``reason_columns`` as text, empty where there is no reason; numbers as
    they are."""
    if pa.types.is_floating(column.type):
        return column.cast(pa.string())
    return pa.array(["" if one is None else str(Reason(**one)) for one in column.to_pylist()])


def as_cells(
    columns: Sequence[pa.Array], delimiter: str, encoding: str = "utf-8"
) -> Iterator[pa.Array]:
    """Yields columns of reasons as cells of a CSV file, quoted where that is needed."""
    special = f'{delimiter}"\n\r'
    for column in columns:
        if pa.types.is_floating(column.type):
            yield column.cast(pa.string()).cast(pa.binary())
            continue
        texts = as_text(column).to_pylist()
        cells = [csv_cell(text, special).encode(encoding, "replace") for text in texts]
        yield pa.array(cells, pa.binary())


def in_words(value: Any) -> str:
    """Returns a cell as people read it: six digits of a number, one line of a text."""
    if value is None:
        return "missing"
    if isinstance(value, float | np.floating):
        return f"{value:.6g}"
    text = " ".join(str(value).split())
    return text if len(text) <= _MOST_LETTERS else f"{text[: _MOST_LETTERS - 3]}..."


def _plain(cell: Any) -> Any:
    return None if pd.isna(cell) else cell
