"""Reads labelled rows from CSV, JSON lines or Parquet: a file, a folder or a glob, with pyarrow."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.compute as pc  # type: ignore[import-untyped]

from jamba_ray.data.budget import Budget, Measured
from jamba_ray.data.csv_file import csv_names, measure_csv_file, read_csv_file
from jamba_ray.data.csv_layout import decoded
from jamba_ray.data.header import Choice
from jamba_ray.data.json_file import json_names, measure_json_file, read_json_file
from jamba_ray.data.parquet_file import measure_parquet_file, parquet_names, read_parquet_file
from jamba_ray.data.source import folder_columns, table_files
from jamba_ray.data.text_stream import text_chunks
from jamba_ray.errors import DataError

MAX_CELLS = 2_000_000_000
_READING_BYTES, _READING_COPIES = 44, 3
"""Memory per cell, and per byte of content, that ``prepare`` takes for a table which it holds as a
whole: 32 to 40 bytes a cell at the peak (measured on 10 M cells, 2026-11-21); long texts more."""


@dataclass(frozen=True)
class Extent:
    """Says how large a table is: rows, rows x columns, and bytes of text or uncompressed
    Parquet."""

    rows: int
    cells: int
    content_bytes: int
    notes: tuple[str, ...] = ()
    """Sentences on what was assumed of its files."""

    @property
    def reading_bytes(self) -> int:
        """Returns the bytes that it takes to read and prepare the table as a whole."""
        return max(_READING_BYTES * self.cells, _READING_COPIES * self.content_bytes)


@dataclass(frozen=True)
class _Format:
    """Holds the functions that read files of one kind."""

    read: Callable[[Path, Budget, Choice], pa.Table]
    measure: Callable[[Path, Budget, Choice], Measured]
    names: Callable[[Path, Choice], list[str]]


PARQUET = _Format(read_parquet_file, measure_parquet_file, lambda file, _: parquet_names(file))
JSON = _Format(read_json_file, measure_json_file, json_names)
_CSV = _Format(read_csv_file, measure_csv_file, csv_names)

FileColumns: TypeAlias = Sequence[tuple[Path, list[str]]]
"""The files of a table in their order, with the columns that each has."""


def read_table(
    path: str | Path,
    *,
    max_cells: int = MAX_CELLS,
    drop: Collection[str] = (),
    names: Sequence[str] = (),
) -> pd.DataFrame:
    """Reads all rows of a file, folder or glob (files in the order of their names).

    Text columns come as pandas categories, integers with gaps as ``Int64`` (so that none is
    rounded), decimals as floats; folders named ``key=value`` in all paths are a column.
    ``max_cells`` bounds rows x columns over all files before and while reading; ``drop`` names
    columns that are not read, ``names`` those of CSV files without a header. Raises DataError, one
    sentence that names the file, for anything that is not such a table.
    """
    return _read_files(path, Budget.of(max_cells), Choice(frozenset(drop), tuple(names)))


def read_columns(
    path: str | Path, columns: Collection[str], extent: Extent, names: Sequence[str] = ()
) -> pd.DataFrame:
    """Reads some columns of a table, as ``read_table`` gives them; ``extent`` is the table's.

    Raises DataError also where the table has grown.
    """
    present = {name for _, found in file_columns(path, names) for name in found}
    why = "what the table held when it was first read; start again"
    budget = Budget(extent.rows * len(columns), 64 * extent.cells + 65_536, why)
    return _read_files(path, budget, Choice(frozenset(present - set(columns)), tuple(names)))


def table_extent(
    path: str | Path, *, max_cells: int, drop: Collection[str] = (), names: Sequence[str] = ()
) -> Extent:
    """Measures how large a table is; Parquet says it, text is read through once.

    Raises DataError for more than ``max_cells``.
    """
    budget = Budget.apart_from_memory(max_cells)
    choice = Choice(frozenset(drop), tuple(names))
    files = table_files(str(path))
    found = [format_of(file).measure(file, budget, choice) for file in files]
    rows = sum(measured.rows for measured in found)
    folders = folder_columns(str(path), files)
    budget.spend(files[0], cells=rows * len(folders.keys() - choice.drop))
    notes = [note for measured in found for note in measured.notes]
    if folders:
        listed = ", ".join(map(repr, folders))
        notes.insert(0, f"The folder names of {path} are read as columns: {listed}.")
    return Extent(
        rows,
        max_cells - budget.cells,
        sum(measured.content_bytes for measured in found),
        _few(notes),
    )


def _few(notes: Sequence[str], at_most: int = 6) -> tuple[str, ...]:
    if len(notes) <= at_most:
        return tuple(notes)
    return (*notes[:at_most], f"{len(notes) - at_most} more notes of this kind on other files.")


def _read_files(path: str | Path, budget: Budget, choice: Choice) -> pd.DataFrame:
    files = table_files(str(path))
    folders = folder_columns(str(path), files)
    tables = []
    for i, file in enumerate(files):
        table = format_of(file).read(file, budget, choice)
        for name, values in folders.items():
            if name not in choice.drop and name not in table.column_names:
                budget.spend(file, cells=len(table))
                table = table.append_column(name, _repeated(values[i], len(table)))
        tables.append(table)
    names = tables[0].column_names
    for file, table in zip(files[1:], tables[1:], strict=True):
        _check_same_columns(files[0], names, file, table.column_names)
    columns = {}
    for name in names:
        try:
            columns[name] = to_pandas(_joined([table.column(name) for table in tables]))
        except pa.ArrowException as error:
            reason = " ".join(str(error).split())[:160].rstrip(".")
            raise DataError(f"column {name!r} of {path} cannot be read: {reason}.") from error
    return pd.DataFrame(columns, columns=names)


def _repeated(value: int | str | None, rows: int) -> pa.Array:
    if value is None or isinstance(value, int):
        return pa.repeat(pa.scalar(value), rows)
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), [value])


def column_names(path: str | Path, names: Sequence[str] = ()) -> list[str]:
    """Returns the column names of a table, from its first file's header or footer alone."""
    return next(iter(file_columns(path, names, at_most=1)))[1]


def file_columns(
    path: str | Path, names: Sequence[str] = (), at_most: int | None = None
) -> FileColumns:
    """Returns the column names of each file, from headers and footers, with those of folders."""
    files = table_files(str(path))
    folders = folder_columns(str(path), files)
    choice = Choice(names=tuple(names))
    found = []
    for file in files[:at_most]:
        own = format_of(file).names(file, choice)
        found.append((file, [*own, *(name for name in folders if name not in own)]))
    return found


def format_of(file: Path) -> _Format:
    """Finds the format by content, or by name where the content is torn.

    Raises:
        DataError: The file is empty.
    """
    try:
        with file.open("rb") as stream:
            magic = stream.read(4)
        if not magic:
            raise DataError(f"{file} must hold a header and rows, but is empty.")
        if magic == b"PAR1" or file.suffix.lower() in {".parquet", ".pq"}:
            return PARQUET
        start = next(text_chunks(file), b"").lstrip()[:1]
    except OSError as error:
        raise DataError(f"{file} must be readable, but is not: {error.strerror}.") from error
    is_array = start == b"[" and ".json" in file.name.lower()
    return JSON if start == b"{" or is_array else _CSV


def _check_same_columns(first: Path, names: list[str], file: Path, others: list[str]) -> None:
    lacking, extra = sorted(set(names) - set(others)), sorted(set(others) - set(names))
    if lacking or extra:
        parts = [f"lacks {lacking[0]!r}"] if lacking else []
        parts += [f"has {extra[0]!r} besides"] if extra else []
        raise DataError(
            f"files of one table must have the same columns, but {file} {' and '.join(parts)} "
            f"(compared with {first}); name such columns in data.drop, or set data.columns=common "
            "to read those that all files have."
        )


def _joined(parts: list[pa.ChunkedArray]) -> pa.ChunkedArray:
    """Joins the chunks of all files to one column; where types differ, in the type that holds them
    all."""
    parts = [_simplified(part) for part in parts]
    kinds = {part.type for part in parts if not pa.types.is_null(part.type)}
    if len(kinds) > 1:
        numbers = all(pa.types.is_integer(k) or pa.types.is_floating(k) for k in kinds)
        target = pa.float64() if numbers else pa.string()
        parts = [_as_text(part) if target == pa.string() else part for part in parts]
    elif kinds:
        target = kinds.pop()
    else:
        return parts[0]
    return pa.chunked_array(
        [chunk for part in parts for chunk in part.cast(target, safe=False).chunks], type=target
    )


def _simplified(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Converts to fewer types: text to a dictionary, decimals and small floats to float64."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return (
            column
            if pa.types.is_string(kind.value_type)
            else _encoded(column.cast(kind.value_type))
        )
    if pa.types.is_decimal(kind) or pa.types.is_floating(kind):
        return column.cast(pa.float64())
    return _encoded(column)


def _encoded(column: pa.ChunkedArray) -> pa.ChunkedArray:
    kind = column.type
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        column, kind = _decoded(column), pa.string()
    if pa.types.is_large_string(kind) or pa.types.is_string(kind):
        return pc.dictionary_encode(column.cast(pa.string()))
    return column


def _decoded(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Decodes cells that are not UTF-8 as Windows-1252."""
    texts = [None if cell is None else decoded(cell) for cell in column.to_pylist()]
    return pa.chunked_array([pa.array(texts, type=pa.string())])


def _as_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


def to_pandas(column: pa.ChunkedArray) -> pd.Series[Any]:
    """Turns a column into a series: text into categories, integers with gaps into ``Int64``."""
    if pa.types.is_string(column.type):
        column = pc.dictionary_encode(column)
    if pa.types.is_dictionary(column.type):
        column = column.unify_dictionaries()
    # An integer with a gap would become a float, which rounds past 2^53.
    exact = {pa.int64(): pd.Int64Dtype(), pa.uint64(): pd.UInt64Dtype()}
    mapper = exact.get if column.null_count else None
    series: pd.Series[Any] = column.to_pandas(types_mapper=mapper)
    return series
