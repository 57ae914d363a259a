"""Reads one file of JSON lines (an object in each line) as an Arrow table."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped]

from jamba_ray.data.budget import Budget, Measured
from jamba_ray.data.csv_file import in_one_sentence, whole_lines
from jamba_ray.data.header import Choice, check_distinct, check_width
from jamba_ray.data.text_stream import text_chunks
from jamba_ray.errors import DataError

_BLOCK_ROWS = 8192


def read_json_file(file: Path, budget: Budget, choice: Choice) -> pa.Table:
    """Reads the table, its columns in the order in which their names occur.

    A name that a line lacks is a missing cell.

    Raises:
        DataError: It is no such table; one sentence that names the file.
    """
    columns: dict[str, list[pa.Array]] = {}
    rows = 0
    for block in _blocks(file, budget, choice):
        for name in dict.fromkeys(name for row in block for name in row):
            if name not in columns:
                columns[name] = [pa.nulls(rows)] if rows else []
        for name, chunks in columns.items():
            chunks.append(as_array(file, name, [row.get(name) for row in block]))
        rows += len(block)
    if not rows:
        raise DataError(f"{file} must hold rows, but has none.")
    return pa.table({name: _one_type(chunks) for name, chunks in columns.items()})


def measure_json_file(file: Path, budget: Budget, choice: Choice) -> Measured:
    """Measures what is in the file by reading it once; spends its bytes and cells."""
    before = budget.text_bytes
    rows = sum(len(block) for block in _blocks(file, budget, choice))
    return Measured(rows, before - budget.text_bytes)


def json_names(file: Path, choice: Choice) -> list[str]:
    """Returns the names that occur in any line."""
    blocks = _blocks(file, Budget.of(1 << 60), choice)
    return list(dict.fromkeys(name for block in blocks for row in block for name in row))


def json_blocks(file: Path) -> Iterator[list[dict[str, Any]]]:
    """Yields the objects of a file, some at a time, without a limit on how many there are."""
    return _blocks(file, Budget.apart_from_memory(1 << 60), Choice())


def as_one_text(cell: Any) -> Any:
    """Returns a list or an object as JSON text, and any other cell as it is."""
    return _text(cell) if isinstance(cell, list | dict) else cell


def _blocks(file: Path, budget: Budget, choice: Choice) -> Iterator[list[dict[str, Any]]]:
    """Yields the objects, some at a time.

    Every column is spent for every row, whether it occurs or not: that is what it takes as a table.
    """
    names: set[str] = set()
    block: list[dict[str, Any]] = []
    numbers = count(1)
    with in_one_sentence(file):
        for chunk in whole_lines(text_chunks(file)):
            budget.spend(file, text_bytes=len(chunk))
            for line, number in zip(chunk.splitlines(), numbers, strict=False):
                if line.strip():
                    row = _row(file, number, line, choice)
                    names.update(row)
                    check_width(file, len(names))
                    block.append(row)
                if len(block) == _BLOCK_ROWS:
                    budget.spend(file, cells=len(block) * len(names))
                    yield block
                    block = []
        budget.spend(file, cells=len(block) * len(names))
        yield block


def _row(file: Path, number: int, line: bytes, choice: Choice) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"{file} must hold a JSON object in each line, but line {number} is none "
            f"({str(error)[:80]}); write JSON lines, for example with: jq -c '.[]'"
        ) from error
    if not isinstance(found, dict):
        raise DataError(
            f"{file} must hold a JSON object in each line, but line {number} is none; write JSON "
            "lines, for example with: jq -c '.[]'"
        )
    row = {name.strip(): value for name, value in found.items()}
    if len(row) < len(found):
        check_distinct(file, [name.strip() for name in found])
    return {name: value for name, value in row.items() if name not in choice.drop}


def as_array(file: Path, name: str, cells: Sequence[Any]) -> pa.Array:
    """Returns cells as numbers, truth values or text: whichever all of them are, else text.

    Raises:
        DataError: A cell is a list or an object.
    """
    nested = next((cell for cell in cells if isinstance(cell, list | dict)), None)
    if nested is not None:
        what = "a list" if isinstance(nested, list) else "an object"
        raise DataError(
            f"columns of {file} must hold plain values, but {name!r} holds {what}; spread it over "
            "columns or name it in data.drop."
        )
    try:
        return pa.array(cells)
    except (pa.ArrowException, OverflowError):
        return pa.array([cell if cell is None else _text(cell) for cell in cells])


def _text(cell: Any) -> str:
    return cell if isinstance(cell, str) else json.dumps(cell)


def _one_type(chunks: Sequence[pa.Array]) -> pa.ChunkedArray:
    """Converts chunks to one type: numbers where all are, else text."""
    kinds = {chunk.type for chunk in chunks if not pa.types.is_null(chunk.type)}
    if len(kinds) <= 1:
        kind = kinds.pop() if kinds else pa.null()
    else:
        numeric = all(pa.types.is_integer(kind) or pa.types.is_floating(kind) for kind in kinds)
        kind = pa.float64() if numeric else pa.string()
    return pa.chunked_array([chunk.cast(kind, safe=False) for chunk in chunks], type=kind)
