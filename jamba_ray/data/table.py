"""Labelled rows from CSV or Parquet: a file, a folder or a glob, read with pyarrow."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.compute as pc  # type: ignore[import-untyped]

from jamba_ray.data.budget import Budget
from jamba_ray.data.csv_file import csv_extent, csv_names, read_csv_file
from jamba_ray.data.parquet_file import parquet_extent, parquet_names, read_parquet_file
from jamba_ray.data.source import table_files
from jamba_ray.errors import DataError

MAX_CELLS = 2_000_000_000
_READING_BYTES, _READING_COPIES = 44, 3
"""Memory per cell, and per byte of content, that ``prepare`` takes for a table which it holds as a
whole: 32 to 40 bytes a cell at the peak (measured on 10 M cells, 2026-11-21); long texts more."""


@dataclass(frozen=True)
class Extent:
    """How large a table is: rows, rows x columns, and bytes of text or uncompressed Parquet."""

    rows: int
    cells: int
    content_bytes: int

    @property
    def reading_bytes(self) -> int:
        """What it takes to read and prepare it as a whole."""
        return max(_READING_BYTES * self.cells, _READING_COPIES * self.content_bytes)


def read_table(
    path: str | Path, *, max_cells: int = MAX_CELLS, drop: Collection[str] = ()
) -> pd.DataFrame:
    """All rows of a file, folder or glob (files in the order of their names).

    Text columns come as pandas categories, integers with gaps as ``Int64`` (so that none is
    rounded), decimals as floats. ``max_cells`` bounds rows x columns over all files before and
    while reading; ``drop`` names columns that are not read. Raises DataError, one sentence that
    names the file, for anything that is not such a table.
    """
    return _read_files(path, Budget.of(max_cells), drop)


def read_columns(path: str | Path, columns: Collection[str], extent: Extent) -> pd.DataFrame:
    """Some columns of a table, as ``read_table`` gives them; ``extent`` is the table's.

    Raises DataError also where the table has grown.
    """
    # A column that the first file lacks is not known here: it is read, and told of below.
    drop = set(column_names(path)) - set(columns)
    why = "what the table held when it was first read; start again"
    budget = Budget(extent.rows * len(columns), 64 * extent.cells + 65_536, why)
    return _read_files(path, budget, drop)


def table_extent(path: str | Path, *, max_cells: int, drop: Collection[str] = ()) -> Extent:
    """How large a table is; Parquet tells it, CSV text is passed through once.

    Raises DataError for more than ``max_cells``.
    """
    budget = Budget.apart_from_memory(max_cells)
    rows = content = 0
    for file in table_files(str(path)):
        measure = parquet_extent if _is_parquet(file) else csv_extent
        more_rows, more_content = measure(file, budget, frozenset(drop))
        rows, content = rows + more_rows, content + more_content
    return Extent(rows, max_cells - budget.cells, content)


def _read_files(path: str | Path, budget: Budget, drop: Collection[str]) -> pd.DataFrame:
    files = table_files(str(path))
    tables = [_read_file(file, budget, frozenset(drop)) for file in files]
    names = tables[0].column_names
    for file, table in zip(files[1:], tables[1:], strict=True):
        _check_same_columns(files[0], names, file, table.column_names)
    columns = {}
    for name in names:
        try:
            columns[name] = _to_pandas(_joined([table.column(name) for table in tables]))
        except pa.ArrowException as error:
            reason = " ".join(str(error).split())[:160].rstrip(".")
            raise DataError(f"column {name!r} of {path} cannot be read: {reason}.") from error
    return pd.DataFrame(columns, columns=names)


def column_names(path: str | Path) -> list[str]:
    """The column names of a table, from its first file's header or footer alone."""
    file = table_files(str(path))[0]
    return parquet_names(file) if _is_parquet(file) else csv_names(file)


def _read_file(file: Path, budget: Budget, drop: frozenset[str]) -> pa.Table:
    read = read_parquet_file if _is_parquet(file) else read_csv_file
    return read(file, budget, drop)


def _is_parquet(file: Path) -> bool:
    """By content, or by name where the content is torn. Raises DataError for an empty file."""
    try:
        with file.open("rb") as stream:
            magic = stream.read(4)
    except OSError as error:
        raise DataError(f"{file} must be readable, but is not: {error.strerror}.") from error
    if not magic:
        raise DataError(f"{file} must hold a header and rows, but is empty.")
    return magic == b"PAR1" or file.suffix.lower() in {".parquet", ".pq"}


def _check_same_columns(first: Path, names: list[str], file: Path, others: list[str]) -> None:
    lacking, extra = sorted(set(names) - set(others)), sorted(set(others) - set(names))
    if lacking or extra:
        parts = [f"lacks {lacking[0]!r}"] if lacking else []
        parts += [f"has {extra[0]!r} besides"] if extra else []
        raise DataError(
            f"files of one table must have the same columns, but {file} {' and '.join(parts)} "
            f"(compared with {first}); read them apart or make them agree."
        )


def _joined(parts: list[pa.ChunkedArray]) -> pa.ChunkedArray:
    """Chunks of all files as one column; where types differ, the type that holds them all."""
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
    """Fewer types for those above: text as a dictionary, decimals and small floats as float64."""
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
    """Bytes that are no UTF-8 (an old code page) are kept apart, each odd byte as U+FFFD."""
    texts = [
        None if cell is None else cell.decode("utf-8", errors="replace")
        for cell in column.to_pylist()
    ]
    return pa.chunked_array([pa.array(texts, type=pa.string())])


def _as_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


def _to_pandas(column: pa.ChunkedArray) -> pd.Series[Any]:
    if pa.types.is_string(column.type):
        column = pc.dictionary_encode(column)
    if pa.types.is_dictionary(column.type):
        column = column.unify_dictionaries()
    # An integer with a gap would become a float, which rounds past 2^53.
    exact = {pa.int64(): pd.Int64Dtype(), pa.uint64(): pd.UInt64Dtype()}
    mapper = exact.get if column.null_count else None
    series: pd.Series[Any] = column.to_pandas(types_mapper=mapper)
    return series
