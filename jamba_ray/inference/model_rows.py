"""Opens the files whose rows a model scores, and reads them in batches that fit it."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from jamba_ray.data import Preprocessor
from jamba_ray.data.column_kinds import check_kinds
from jamba_ray.data.preprocessing import check_columns
from jamba_ray.data.row_batches import RowBatch, RowFile, row_file
from jamba_ray.data.source import table_files
from jamba_ray.errors import DataError, StorageError
from jamba_ray.inference.model_columns import as_inferred, kinds_of, model_frame

STANDARD = "-"
"""The path that means standard input or standard output."""
STANDARD_INPUT = "standard input"
Matrices: TypeAlias = tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]


def model_files(path: str, columns: Sequence[str], preprocessing: Preprocessor) -> list[RowFile]:
    """Returns the files of a path, each with all columns of the model.

    Raises:
        DataError: A file is no table, or lacks a column.
    """
    files = [row_file(file, columns) for file in table_files(path)]
    for file in files:
        check_columns(list(file.names), preprocessing.columns, str(file.path))
    return files


def row_batches(
    files: Sequence[RowFile], preprocessing: Preprocessor
) -> Generator[tuple[RowFile, RowBatch]]:
    """Yields each file with its batches of rows, the columns of the model among them."""
    numbers, texts = kinds_of(preprocessing)
    for file in files:
        for batch in file.batches(numbers, texts):
            yield file, batch


def model_frames(
    batches: Iterator[tuple[RowFile, RowBatch]], preprocessing: Preprocessor
) -> Generator[tuple[RowBatch, pd.DataFrame]]:
    """Yields each batch that has rows, with the columns of the model.

    Raises:
        DataError: In the first rows of a file, a column holds no number where training had
            numbers, or holds numbers where training had names.
    """
    checked: set[Path] = set()
    for file, batch in batches:
        frame = model_frame(batch.columns, preprocessing)
        if not len(frame):
            continue
        if file.path not in checked:
            checked.add(file.path)
            check_kinds(as_inferred(frame, preprocessing), preprocessing, str(file.path))
        yield batch, frame


@contextmanager
def standard_input() -> Iterator[str]:
    """Copies standard input to a temporary file and yields its path.

    The format, the delimiter and the header are detected before the rows are read, which a pipe
    does not allow.
    """
    with tempfile.TemporaryDirectory(prefix="jamba_ray-") as folder:
        copy = os.path.join(folder, "standard-input")
        try:
            with open(copy, "wb") as file:
                shutil.copyfileobj(sys.stdin.buffer, file, 1 << 20)
        except OSError as error:
            raise StorageError(
                f"the temporary folder must take a copy of standard input, but does not "
                f"({error.strerror or error}). Set TMPDIR to one with more space."
            ) from error
        try:
            yield copy
        except DataError as error:
            raise DataError(error.message.replace(copy, STANDARD_INPUT)) from error
