"""Reads the rows of a request's body: JSON, CSV or a stream of Arrow."""

from __future__ import annotations

import csv
import importlib
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from jamba_ray.data.csv_layout import layout_of
from jamba_ray.data.header import tidy_names
from jamba_ray.errors import DataError
from jamba_ray.serving.column import Cells

JSON, CSV, ARROW = "application/json", "text/csv", "application/vnd.apache.arrow.stream"
LINES = "application/x-ndjson"
MISSING = frozenset(
    ("", "NA", "N/A", "n/a", "NaN", "nan", "-nan", "NULL", "null", "None", "none", "#N/A", "<NA>")
)
"""Cells of CSV that are missing, whatever the column (``tests/serving`` holds them against those
of ``predict``)."""
_BODY = Path("the body")
_PER_SECOND = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}


class BodyError(Exception):
    """Reports a body that cannot be read: a sentence, and the status of the answer."""

    def __init__(self, sentence: str, status: int = 400) -> None:
        super().__init__(sentence)
        self.status = status


@dataclass(frozen=True)
class Rows:
    """Holds the rows of a request by column."""

    columns: Mapping[str, Cells]
    n: int
    is_one: bool = False
    """Whether the body was one row, so that the answer is one too."""


def rows_of(body: bytes, kind: str, max_rows: int) -> Rows:
    """Reads a body of the media type ``kind``.

    Raises:
        BodyError: It is no such thing, or holds too many rows.
    """
    read = _READERS.get(kind)
    if read is None:
        raise BodyError(
            f"the body must be one of {', '.join(_READERS)}, but Content-Type says {kind[:60]!r}. "
            "Name the type that it has.",
            415,
        )
    return read(body, max_rows)


def _json(body: bytes, max_rows: int) -> Rows:
    found = _parsed(json.loads, body)
    if isinstance(found, list):
        return _of_objects(found, max_rows)
    if not isinstance(found, dict):
        _refuse_shape(type(found).__name__)
    if any(type(cells) is list for cells in found.values()):
        return _of_columns(found, max_rows)
    return Rows(_stripped({name: [cell] for name, cell in found.items()}), 1, is_one=True)


def _json_lines(body: bytes, max_rows: int) -> Rows:
    def parsed(text: str) -> list[Any]:
        lines = [line for line in text.split("\n") if line.strip()]
        _refuse_many(len(lines), max_rows)
        return [json.loads(line) for line in lines]

    return _of_objects(_parsed(parsed, body), max_rows)


def _parsed(parse: Callable[[str], Any], body: bytes) -> Any:
    try:
        return parse(body.decode())
    except UnicodeDecodeError as error:
        raise BodyError(
            f"the body must be UTF-8, but its byte {error.start} is not. Encode it as UTF-8."
        ) from error
    except RecursionError as error:
        raise BodyError(
            "the body must be a row, a list of rows or an object of columns, but is nested far "
            "deeper. Send one of these."
        ) from error
    except ValueError as error:
        raise BodyError(f"the body must be JSON, but is not: {str(error)[:120]}.") from error


def _of_objects(found: list[Any], max_rows: int) -> Rows:
    _refuse_many(len(found), max_rows)
    if not all(type(row) is dict for row in found):
        at, odd = next((i, r) for i, r in enumerate(found) if type(r) is not dict)
        _refuse_shape(f"list whose entry {at} is a {type(odd).__name__}")
    names = list(found[0]) if found else []
    columns: dict[str, Cells]
    if all(row.keys() == found[0].keys() for row in found):
        columns = {name: [row[name] for row in found] for name in names}
    else:
        names = list(dict.fromkeys(name for row in found for name in row))
        _refuse_wide(len(names), len(found))
        columns = {name: [row.get(name) for row in found] for name in names}
    return Rows(_stripped(columns), len(found))


def _of_columns(found: dict[str, Any], max_rows: int) -> Rows:
    odd = next((name for name, cells in found.items() if type(cells) is not list), None)
    if odd is not None:
        raise BodyError(
            f"an object of columns must hold a list for each column, but {odd!r} holds "
            f"{type(found[odd]).__name__}. Send a list of rows, or all columns as lists.",
            422,
        )
    sizes = {len(cells) for cells in found.values()}
    if len(sizes) > 1:
        raise BodyError(
            f"the columns must be of one length, but have {min(sizes)} to {max(sizes)} cells. "
            "Send null where a cell is missing.",
            422,
        )
    n = sizes.pop()
    _refuse_many(n, max_rows)
    return Rows(_stripped(found), n)


def _refuse_shape(what: str) -> NoReturn:
    raise BodyError(
        f"the body must be a row (an object), a list of rows or an object of columns, but is a "
        f'{what}. Send for example [{{"column": 1.5}}].',
        422,
    )


def _refuse_many(n: int, max_rows: int) -> None:
    if n > max_rows:
        raise BodyError(
            f"a request must hold at most {max_rows:,} rows, but holds {n:,}. Send it in parts, as "
            "`jamba-ray score` does, or let the server take more with `max_rows`.",
            413,
        )


def _refuse_wide(names: int, rows: int) -> None:
    if names * rows > 50_000_000:
        raise BodyError(
            f"rows must have few columns of their own, but these have {names:,} names in {rows:,} "
            "rows. Send the columns of the model alone.",
            413,
        )


def _stripped(columns: dict[str, Cells]) -> Mapping[str, Cells]:
    """Returns the columns without outer spaces in their names, as files have them."""
    if not any(name != name.strip() for name in columns):
        return columns
    stripped = {name.strip(): cells for name, cells in columns.items()}
    if len(stripped) < len(columns):
        names = [name.strip() for name in columns]
        twice = next(name for name in names if names.count(name) > 1)
        raise BodyError(f"column names must differ, but {twice!r} comes twice. Rename one.", 422)
    return stripped


def _csv(body: bytes, max_rows: int) -> Rows:
    body = body.removeprefix(b"\xef\xbb\xbf")
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise BodyError(
            f"the body must be UTF-8, but its byte {error.start} is not. Encode it as UTF-8."
        ) from error
    if "\0" in text:
        raise BodyError("the body must be text, but holds a zero byte. Remove it.")
    try:
        layout = layout_of(_BODY, body)
    except DataError as error:
        raise BodyError(error.message) from error
    lines = text.splitlines(keepends=True)[layout.first_line :]
    header = layout.header.decode()
    reader = csv.reader(
        io.StringIO("".join(lines), newline=""), delimiter=layout.delimiter, strict=True
    )
    rows: list[list[str]] = []
    width = len(layout.names)
    try:
        for row in reader:
            if not row or (header and layout.delimiter.join(row) == header):
                continue
            if len(row) != width:
                raise BodyError(
                    f"each line must have {width} cells, as its header has, but the line "
                    f"{layout.first_line + reader.line_num} has {len(row)}. Quote cells that hold "
                    f"{layout.delimiter!r}.",
                    422,
                )
            rows.append(row)
            if len(rows) > max_rows:
                _refuse_many(len(rows), max_rows)
    except csv.Error as error:
        raise BodyError(f"the body must be CSV, but is not: {error}.") from error
    missing = MISSING | {"-", "(empty)"} if layout.is_zeek else MISSING
    columns = (
        {
            name: [None if cell in missing else cell for cell in cells]
            for name, cells in zip(layout.names, zip(*rows, strict=True), strict=True)
        }
        if rows
        else {name: [] for name in layout.names}
    )
    return Rows(columns, len(rows))


def arrow() -> Any:
    """Returns ``pyarrow``, or None where it is not installed; takes a second the first time."""
    try:
        return importlib.import_module("pyarrow")
    except ImportError:
        return None


def _arrow(body: bytes, max_rows: int) -> Rows:
    if (pa := arrow()) is None:
        raise BodyError(
            f"a body of {ARROW} needs the package pyarrow on the server, which is not installed. "
            "Send JSON or CSV.",
            415,
        )
    try:
        with pa.ipc.open_stream(pa.py_buffer(body)) as stream:
            batches, n = [], 0
            for batch in stream:
                batch.validate(full=True)
                n += batch.num_rows
                _refuse_many(n, max_rows)
                batches.append(batch)
            table = pa.Table.from_batches(batches, schema=stream.schema)
            columns = {
                name: _arrow_cells(pa, column)
                for name, column in zip(tidy_names(table.column_names), table.columns, strict=True)
            }
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        why = " ".join(str(error).split())[:120]
        raise BodyError(f"the body must be a stream of Arrow, but is not: {why}.") from error
    return Rows(columns, table.num_rows)


def _arrow_cells(pa: Any, column: Any) -> Cells:
    """Returns the cells of a column; by buffers, since conversions to NumPy import pandas."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
        kind = column.type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return _floats(pa, column)
    if pa.types.is_duration(kind):
        return _floats(pa, column.cast(pa.int64())) / _PER_SECOND[kind.unit]
    if pa.types.is_temporal(kind):  # times are no numbers
        return [None] * len(column)
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return [None if c is None else c.decode("utf-8", "replace") for c in column.to_pylist()]
    return list(column.to_pylist())


def _floats(pa: Any, column: Any) -> npt.NDArray[np.float64]:
    chunks = column.cast(pa.float64(), safe=False).chunks
    found = [_of_chunk(chunk) for chunk in chunks if len(chunk)]
    return np.concatenate(found) if found else np.empty(0)


def _of_chunk(chunk: Any) -> npt.NDArray[np.float64]:
    valid, content = chunk.buffers()
    values = np.frombuffer(content, np.float64, len(chunk), 8 * chunk.offset)
    if not chunk.null_count:
        return values
    bits = np.unpackbits(np.frombuffer(valid, np.uint8), bitorder="little")
    is_set = bits[chunk.offset : chunk.offset + len(chunk)].astype(bool)
    return np.where(is_set, values, np.nan)


_READERS: dict[str, Callable[[bytes, int], Rows]] = {
    JSON: _json,
    LINES: _json_lines,
    CSV: _csv,
    ARROW: _arrow,
}


def sliced(rows: Rows, at: Sequence[int]) -> Rows:
    """Returns some of the rows, by position."""
    chosen = {
        name: cells[np.asarray(at)] if isinstance(cells, np.ndarray) else [cells[i] for i in at]
        for name, cells in rows.columns.items()
    }
    return Rows(chosen, len(at), rows.is_one)
