"""Writes the rows to label: their cells as they stand, and how each was drawn."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from jamba_ray.data.row_batches import row_file
from jamba_ray.data.source import table_files
from jamba_ray.data.table import to_pandas
from jamba_ray.evaluation.asked import Asked
from jamba_ray.runs.file_writes import write_bytes
from jamba_ray.watching.window import ASK

LABEL = "label"


def write_asked(
    target: Path,
    path: str,
    names: Sequence[str],
    asked: Asked,
    score: npt.NDArray[np.float64],
    label: str = LABEL,
) -> int:
    """Writes the rows ``asked`` of ``path`` as CSV, with an empty column for the label; returns
    their number."""
    frames, begun = [], 0
    for file in (row_file(one, names) for one in table_files(path)):
        for batch in file.batches(set(), set(file.names[:1])):
            n = batch.columns.num_rows
            here = asked.rows[(asked.rows >= begun) & (asked.rows < begun + n)] - begun
            if len(here):
                table = batch.table().take(here)
                frames.append(
                    pd.DataFrame({name: to_pandas(table[name]) for name in table.column_names})
                )
            begun += n
    if not frames:
        return 0
    frame = pd.concat(frames, ignore_index=True)
    frame = frame.drop(columns=[name for name in (label, *ASK, "score") if name in frame])
    frame.insert(0, label, "")
    frame["score"] = score[asked.rows]
    columns = (asked.stratum, asked.stratum_rows, asked.chance)
    for name, cells in zip(ASK, columns, strict=False):
        frame[name] = cells
    frame[ASK[-1]] = float(asked.chance.min())
    buffer = io.StringIO()
    frame.to_csv(buffer, index=False)
    write_bytes(target, buffer.getvalue().encode())
    return len(frame)
