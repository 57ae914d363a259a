"""Keeps rows that exist only in memory as a file that commands, runners and a resume can read."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from jamba_ray.data.cells import to_names
from jamba_ray.errors import DataError, StorageError
from jamba_ray.runs.file_writes import write_bytes


def write_frame(frame: pd.DataFrame, folder: Path) -> Path:
    """Writes a DataFrame as Parquet into ``folder`` and returns the file.

    Its name is made of its content, so that the same rows are the same file. The index is no
    column.

    Raises:
        DataError: There are no rows or no columns, or two columns have one name.
        StorageError: The folder cannot be written.
    """
    names = [str(name) for name in frame.columns]
    if not len(frame) or not names:
        rows, columns = frame.shape
        raise DataError(
            f"a DataFrame to train on must have rows and columns, but has {rows} and {columns}."
        )
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(
            f"columns must have one name each, but {twice!r} comes twice; rename one of them."
        )
    columns_by_name = {name: _column(frame.iloc[:, i]) for i, name in enumerate(names)}
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns_by_name), buffer)
    content = buffer.getvalue()
    file = folder / f"{hashlib.sha256(content).hexdigest()[:16]}.parquet"
    if not file.exists():
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(
                f"{str(folder)!r} must be writable, because the rows are kept there, but is not "
                f"({error.strerror}). Choose another `store`."
            ) from error
        write_bytes(file, content)
    return file


def _column(values: pd.Series[Any]) -> pa.Array:
    """Returns the values as Arrow has them; a column with cells of several types becomes text."""
    try:
        return pa.Array.from_pandas(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):
        codes, names = to_names(values)
        return pa.DictionaryArray.from_arrays(pa.array(codes, mask=codes < 0), names)
