"""Reads one CSV file as an Arrow table: measured in a first pass, read in a second."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.csv as pa_csv  # type: ignore[import-untyped]

from jamba_ray.data.budget import Budget, Measured
from jamba_ray.data.csv_layout import LOOKED_AT, MAX_HEADER_BYTES, CsvLayout, decoded, layout_of
from jamba_ray.data.header import Choice
from jamba_ray.data.text_stream import ChunkStream, text_chunks
from jamba_ray.errors import DataError

_BLOCK_BYTES = 16 << 20
MISSING = [
    "",
    "NA",
    "N/A",
    "n/a",
    "NaN",
    "nan",
    "-nan",
    "NULL",
    "null",
    "None",
    "none",
    "#N/A",
    "<NA>",
]


def read_csv_file(file: Path, budget: Budget, choice: Choice) -> pa.Table:
    """Reads the table, its column types inferred from all rows; measured against ``budget`` first.

    Raises DataError, one sentence that names the file, for whatever keeps it from being a table.
    """
    with in_one_sentence(file):
        measure_csv_file(file, budget, choice)
        layout, chunks = open_csv(file, choice)
        return _read(file, layout, chunks, choice)


def measure_csv_file(file: Path, budget: Budget, choice: Choice) -> Measured:
    """Measures what is in the file by streaming through it once.

    It spends the file's bytes, and the cells that are not dropped.
    """
    with in_one_sentence(file):
        layout, chunks = open_csv(file, choice)
        width = sum(name not in choice.drop for name in layout.names)
        rows = headers = size = line = 0
        has_rows, foreign, ends_line = False, False, True
        for chunk in chunks:
            # A quoted cell may span lines, so this may count too many rows, never too few.
            lines = max(chunk.count(b"\n"), chunk.count(b"\r"))
            budget.spend(file, cells=lines * width, text_bytes=len(chunk))
            if b"\0" in chunk:
                before = chunk[: chunk.index(b"\0")]
                at = layout.first_line + line + max(before.count(b"\n"), before.count(b"\r")) + 1
                raise DataError(
                    f"{file} must be text, but line {at} holds a zero byte; remove it, for "
                    "example with: tr -d '\\000'"
                )
            if layout.header and layout.header in chunk:
                headers += sum(part == layout.header for part in chunk.splitlines())
            foreign = foreign or not (chunk.isascii() or _is_utf8(chunk))
            rows, size, line = rows + lines, size + len(chunk), line + lines
            has_rows = has_rows or bool(chunk.strip())
            ends_line = chunk.endswith((b"\n", b"\r"))
        budget.spend(file, cells=0 if ends_line else width)
    if not has_rows:
        raise DataError(f"{file} must hold rows, but has only a header.")
    notes = list(layout.notes)
    if headers:
        notes.append(
            f"{headers} lines of {file.name} repeat its header and are no rows."
            if headers > 1
            else f"A line of {file.name} repeats its header and is no row."
        )
    if foreign:
        notes.append(
            f"{file.name} holds bytes that are not UTF-8; the cells they are in are read as "
            "Windows-1252."
        )
    return Measured(rows + (not ends_line), size, tuple(notes))


def csv_names(file: Path, choice: Choice) -> list[str]:
    """Returns the column names, from the first lines."""
    with in_one_sentence(file):
        return list(open_csv(file, choice)[0].names)


def open_csv(file: Path, choice: Choice) -> tuple[CsvLayout, Iterator[bytes]]:
    """Opens a file: its layout, and what follows the header in chunks that end with a line."""
    chunks = text_chunks(file)
    head = b""
    for chunk in chunks:
        head += chunk
        if head.count(b"\n") + head.count(b"\r") > 2 * LOOKED_AT + 16:
            break
        if len(head) >= MAX_HEADER_BYTES:
            if not (b"\n" in head or b"\r" in head):
                raise DataError(
                    f"{file} must start with a header line, but its first line is longer than "
                    f"{MAX_HEADER_BYTES >> 20} MiB; is it a CSV file?"
                )
            break
    layout = layout_of(file, head, choice.names)
    rest = b"".join(head.splitlines(keepends=True)[layout.first_line :])
    return layout, whole_lines(chain([rest], chunks))


def whole_lines(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Yields the same bytes, cut only after line ends."""
    begun: list[bytes] = []
    for chunk in chunks:
        # "\r" at the very end may be half of "\r\n": it waits.
        at = max(chunk.rfind(b"\n"), chunk.rfind(b"\r", 0, len(chunk) - 1)) + 1
        if at:
            yield b"".join([*begun, chunk[:at]])
            begun = []
        if at < len(chunk):
            begun.append(chunk[at:])
        if sum(map(len, begun)) > _BLOCK_BYTES:  # a line that may have no end
            yield b"".join(begun)
            begun = []
    if begun:
        yield b"".join(begun)


def _read(file: Path, layout: CsvLayout, chunks: Iterator[bytes], choice: Choice) -> pa.Table:
    kept = [name for name in layout.names if name not in choice.drop]
    stream = io.BufferedReader(ChunkStream(only_rows(layout, chunks)), _BLOCK_BYTES)
    try:
        table = pa_csv.read_csv(
            pa.PythonFile(stream, mode="r"),
            read_options=pa_csv.ReadOptions(
                column_names=list(layout.names), use_threads=False, block_size=_BLOCK_BYTES
            ),
            parse_options=pa_csv.ParseOptions(delimiter=layout.delimiter, newlines_in_values=True),
            convert_options=pa_csv.ConvertOptions(
                null_values=[*MISSING, "-", "(empty)"] if layout.is_zeek else MISSING,
                strings_can_be_null=True,
                quoted_strings_can_be_null=True,
                include_columns=kept,
            ),
        )
    except pa.ArrowInvalid as error:
        if "Expected" not in str(error):
            raise
        raise DataError(uneven_line(file, layout, choice)) from error
    return table.select(kept)


def only_rows(layout: CsvLayout, chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Yields ``chunks`` without lines that are no rows."""
    for chunk in chunks:
        has_header = layout.header and layout.header in chunk
        has_comment = layout.is_zeek and b"#" in chunk
        if not has_header and not has_comment:
            yield chunk
            continue
        yield b"".join(
            line
            for line in chunk.splitlines(keepends=True)
            if not (has_header and line.rstrip(b"\r\n") == layout.header)
            and not (has_comment and line.startswith(b"#"))
        )


def uneven_line(file: Path, layout: CsvLayout, choice: Choice) -> str:
    """Returns the sentence on the first line with more or fewer cells than there are columns."""
    _, chunks = open_csv(file, choice)
    lines = (line for chunk in chunks for line in chunk.splitlines())
    reader = csv.reader((decoded(line) + "\n" for line in lines), delimiter=layout.delimiter)
    width, begun = len(layout.names), 0
    try:
        for row in reader:
            no_row = len(row) == 0 or (layout.is_zeek and row[0].startswith("#"))
            if len(row) != width and not no_row:
                at = layout.first_line + begun + 1
                if reader.line_num - begun > 1:
                    break
                return (
                    f"{file} must have {width} cells in every line, but line {at} has {len(row)} "
                    f"({layout.delimiter.join(row)[:60]!r}); quote a cell that holds "
                    f"{layout.delimiter!r}, or mend the line."
                )
            begun = reader.line_num
    except csv.Error:
        pass
    return (
        f"{file} must close every quote, but one that is opened in line "
        f"{layout.first_line + begun + 1} is not closed there; mend the line."
    )


def _is_utf8(chunk: bytes) -> bool:
    try:
        chunk.decode()
    except UnicodeDecodeError:
        return False
    return True


@contextmanager
def in_one_sentence(file: Path) -> Iterator[None]:
    """Turns what readers raise into a DataError that names the file."""
    try:
        yield
    except pa.ArrowException as error:
        reason = " ".join(str(error).split())[:200].rstrip(".")
        if "straddling" in reason:  # Arrow's word for a row that no block can hold
            raise DataError(
                f"{file} must have rows of a few megabytes at most, but has a longer one; shorten "
                "its longest cell, or close the quote that a cell opens."
            ) from error
        raise DataError(f"{file} must be a CSV table, but is not: {reason}.") from error
    except UnicodeError as error:
        raise DataError(f"{file} must be text, but is not: {error}.") from error
    except OSError as error:
        raise DataError(
            f"{file} must be readable, but is not: {error.strerror or error}."
        ) from error
