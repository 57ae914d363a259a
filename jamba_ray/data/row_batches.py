"""Reads rows to score in batches, each in the columns of the model and as it was written."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.csv as pa_csv  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from jamba_ray.data.csv_file import MISSING, in_one_sentence, only_rows, open_csv, uneven_line
from jamba_ray.data.csv_layout import CsvLayout, decoded
from jamba_ray.data.header import Choice, check_distinct, tidy_names
from jamba_ray.data.json_file import as_array, as_one_text, json_blocks, json_names
from jamba_ray.data.parquet_file import in_parquet_sentence
from jamba_ray.data.table import JSON, PARQUET, format_of
from jamba_ray.errors import DataError

_CSV_BYTES = 4 << 20
_PARQUET_CELLS, _PARQUET_ROWS = 1 << 21, 65_536
_MAX_QUOTED_BYTES = 64 << 20
_NOWHERE = "\x1f"
"""A delimiter that no line holds, so that a line is one cell."""


@dataclass(frozen=True, eq=False)
class RowBatch:
    """Holds N rows."""

    columns: pa.Table
    """Those asked for: numbers as float64 where all cells are such, else text as it stands."""
    table: Callable[[], pa.Table]
    """All columns, text cells of CSV as they stand."""
    lines: pa.Array | None = None
    """[N] the lines of a CSV file without their ends; None where rows are not lines."""
    objects: Sequence[dict[str, Any]] | None = None
    """[N] the objects of JSON lines."""


@dataclass(frozen=True, eq=False)
class RowFile:
    """Reads a file from its beginning to its end once."""

    path: Path
    names: tuple[str, ...]
    header: bytes
    """The line that names the columns; empty where the file is no CSV."""
    delimiter: str
    batches: Callable[[Collection[str], Collection[str]], Iterator[RowBatch]]
    """(columns of numbers, columns of text) -> the rows in their order."""
    schema: pa.Schema | None = None
    """Of Parquet."""
    notes: tuple[str, ...] = ()
    is_json: bool = False


def row_file(path: Path, names: Sequence[str] = ()) -> RowFile:
    """Opens a file of CSV, JSON lines or Parquet; ``names`` are given to the columns of a CSV file
    without a header.

    Raises:
        DataError: One sentence that names the file, here and while it is read.
    """
    kind = format_of(path)
    if kind is JSON:
        return _json(path)
    return _parquet(path) if kind is PARQUET else _csv(path, names)


def _csv(path: Path, names: Sequence[str]) -> RowFile:
    choice = Choice(names=tuple(names))
    with in_one_sentence(path):
        layout, chunks = open_csv(path, choice)
        del chunks
    header = layout.header or layout.delimiter.join(map(csv_cell, layout.names)).encode()

    def batches(numbers: Collection[str], texts: Collection[str]) -> Iterator[RowBatch]:
        with in_one_sentence(path):
            layout, chunks = open_csv(path, choice)
            reader = _CsvReader(path, layout, choice, numbers, texts)
            for block in _blocks(path, only_rows(layout, chunks)):
                batch = reader(block)
                if batch.columns.num_rows:
                    yield batch

    return RowFile(path, layout.names, header, layout.delimiter, batches, notes=layout.notes)


def csv_cell(text: str, special: str = '",;\t|\n\r') -> str:
    """Returns a cell of a CSV file, quoted where it has one of the ``special`` characters."""
    return '"' + text.replace('"', '""') + '"' if set(text) & set(special) else text


def _blocks(path: Path, chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Joins chunks of whole lines to blocks that end outside quotes."""
    parts: list[bytes] = []
    size, is_open = 0, False
    for chunk in chunks:
        if b"\0" in chunk:
            raise DataError(
                f"{path} must be text, but holds a zero byte; remove it, for example with: "
                "tr -d '\\000'"
            )
        parts.append(chunk)
        size += len(chunk)
        is_open ^= chunk.count(b'"') % 2 == 1
        # A quote that is never closed may also be a lone one inside a cell: the parser decides.
        if (size >= _CSV_BYTES and not is_open) or size >= _MAX_QUOTED_BYTES:
            yield b"".join(parts)
            parts, size, is_open = [], 0, False
    if parts:
        yield b"".join(parts)


class _CsvReader:
    """Parses blocks; remembers columns of numbers in which it has met other cells."""

    def __init__(
        self,
        path: Path,
        layout: CsvLayout,
        choice: Choice,
        numbers: Collection[str],
        texts: Collection[str],
    ) -> None:
        self._path, self._layout, self._choice = path, layout, choice
        self._kinds = {
            **dict.fromkeys(texts, pa.string()),
            **{name: pa.float64() for name in numbers if name not in texts},
        }

    def __call__(self, block: bytes) -> RowBatch:
        try:
            columns = self._parse(block, self._kinds)
        except pa.ArrowInvalid as error:
            if "conversion error" not in str(error):
                raise
            columns = self._parse(block, dict.fromkeys(self._kinds, pa.string()))
            columns = self._converted(columns)
        everything = dict.fromkeys(self._layout.names, pa.string())
        lines = self._lines(block, columns.num_rows)
        return RowBatch(columns, lambda: _valid(self._parse(block, everything, ())), lines)

    def _converted(self, columns: pa.Table) -> pa.Table:
        for i, (name, kind) in enumerate(self._kinds.items()):
            if kind != pa.float64():
                continue
            try:
                columns = columns.set_column(i, name, columns[name].cast(kind))
            except pa.ArrowInvalid:
                # Most columns with one such cell have more: they are text from here on.
                self._kinds[name] = pa.string()
        return columns

    def _parse(
        self, block: bytes, kinds: dict[str, pa.DataType], missing: Sequence[str] | None = None
    ) -> pa.Table:
        if missing is None:
            missing = [*MISSING, "-", "(empty)"] if self._layout.is_zeek else MISSING
        has_quotes = b'"' in block
        try:
            return pa_csv.read_csv(
                pa.BufferReader(block),
                read_options=pa_csv.ReadOptions(
                    column_names=list(self._layout.names),
                    block_size=len(block) + 16 if has_quotes else 1 << 20,
                ),
                parse_options=pa_csv.ParseOptions(
                    delimiter=self._layout.delimiter, newlines_in_values=has_quotes
                ),
                convert_options=pa_csv.ConvertOptions(
                    column_types=kinds,
                    include_columns=list(kinds),
                    null_values=list(missing),
                    strings_can_be_null=bool(missing),
                    quoted_strings_can_be_null=bool(missing),
                    check_utf8=False,
                ),
            )
        except pa.ArrowInvalid as error:
            if "Expected" not in str(error):
                raise
            raise DataError(uneven_line(self._path, self._layout, self._choice)) from error

    def _lines(self, block: bytes, rows: int) -> pa.Array | None:
        if _NOWHERE.encode() in block:
            return None
        table = pa_csv.read_csv(
            pa.BufferReader(block),
            read_options=pa_csv.ReadOptions(column_names=["line"], block_size=1 << 20),
            parse_options=pa_csv.ParseOptions(delimiter=_NOWHERE, quote_char=False),
            convert_options=pa_csv.ConvertOptions(column_types={"line": pa.binary()}),
        )
        if table.num_rows != rows:  # cells with line ends in them
            return None
        return table.column("line").combine_chunks()


def _valid(table: pa.Table) -> pa.Table:
    """Makes text UTF-8: other cells are read as Windows-1252, as elsewhere."""
    return pa.table({name: valid_text(table[name]) for name in table.column_names})


def valid_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Returns a column of text whose cells were not checked, as UTF-8."""
    try:
        column.validate(full=True)
        return column
    except pa.ArrowInvalid:
        cells = column.cast(pa.binary()).to_pylist()
        texts = [None if cell is None else decoded(cell) for cell in cells]
        return pa.chunked_array([pa.array(texts, type=pa.string())])


def _parquet(path: Path) -> RowFile:
    with in_parquet_sentence(path), pq.ParquetFile(path) as opened:
        schema = opened.schema_arrow
        check_distinct(path, schema.names)
    names = tidy_names(schema.names)
    size = max(1, min(_PARQUET_ROWS, _PARQUET_CELLS // max(len(names), 1)))

    def batches(numbers: Collection[str], texts: Collection[str]) -> Iterator[RowBatch]:
        wanted = [name for name in names if name in numbers or name in texts]
        # Arrow's default keeps what was read of the file, compressed, until it is closed.
        with in_parquet_sentence(path), pq.ParquetFile(path, pre_buffer=False) as opened:
            for batch in opened.iter_batches(batch_size=size, use_threads=False):
                table = pa.Table.from_batches([batch])
                columns = table.rename_columns(names).select(wanted)
                yield RowBatch(columns, lambda table=table: table)  # type: ignore[misc]

    return RowFile(path, tuple(names), b"", ",", batches, schema=schema)


def _json(path: Path) -> RowFile:
    names = json_names(path, Choice())

    def batches(numbers: Collection[str], texts: Collection[str]) -> Iterator[RowBatch]:
        wanted = [name for name in names if name in numbers or name in texts]
        for block in json_blocks(path):
            if not block:
                continue
            columns = {
                name: _of_kind(
                    as_array(path, name, [row.get(name) for row in block]), is_text=name in texts
                )
                for name in wanted
            }
            everything = partial(_json_table, path, names, block)
            yield RowBatch(pa.table(columns), everything, objects=block)

    return RowFile(path, tuple(names), b"", ",", batches, is_json=True)


def _json_table(path: Path, names: Sequence[str], block: Sequence[dict[str, Any]]) -> pa.Table:
    cells = {name: [as_one_text(row.get(name)) for row in block] for name in names}
    return pa.table({name: as_array(path, name, column) for name, column in cells.items()})


def _of_kind(column: pa.Array, *, is_text: bool) -> pa.Array:
    """Returns cells as the text or, where all are numbers, as the numbers that CSV would give."""
    if is_text or pa.types.is_boolean(column.type):
        return column.cast(pa.string())
    try:
        return column.cast(pa.float64(), safe=False)
    except pa.ArrowInvalid:
        return column


def renamed(batch: RowBatch, names: Sequence[str]) -> RowBatch:
    """Returns the batch with all of its columns in another order."""
    return replace(batch, table=lambda: batch.table().select(list(names)), lines=None)
