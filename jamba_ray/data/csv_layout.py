"""Finds the layout of a CSV file: its first row, its delimiter and the names of its columns.

Decided from the first lines alone.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from jamba_ray.data.header import check_width, renamed_note, tidy_names
from jamba_ray.errors import DataError

MAX_HEADER_BYTES = 16 << 20
LOOKED_AT = 24
"""Lines from which the layout is decided."""
_DELIMITERS = (",", ";", "\t", "|")
_UNSET = {"", "-", "?", "na", "n/a", "nan", "null", "none", "(empty)"}
_NUMBER = re.compile(
    r"[-+]?(\d[\d.,' ]*|\.\d+)(e[-+]?\d+)?\s?[kmgt%]?|0x[0-9a-f]+|[-+]?inf(inity)?", re.IGNORECASE
)


@dataclass(frozen=True)
class CsvLayout:
    """Describes a CSV file before its rows are read."""

    names: tuple[str, ...]
    delimiter: str
    first_line: int
    """How many lines come before the first row."""
    header: bytes
    """The header line without its end; where it occurs again, it is no row. Empty: there is none.
    """
    is_zeek: bool = False
    """Whether lines that begin with ``#`` are no rows and ``-`` is a missing cell."""
    notes: tuple[str, ...] = ()


def layout_of(file: Path, head: bytes, names: Sequence[str] = ()) -> CsvLayout:
    """Finds the layout of a file that begins with ``head``.

    ``head`` is UTF-8, its first ``LOOKED_AT`` lines or more; ``names`` are given to the columns of
    a file without a header.

    Raises:
        DataError: The first lines are those of no table, or no header is among them.
    """
    lines = head.splitlines()[: LOOKED_AT + 8]
    # Before anything is made of a header that may be a million names long.
    check_width(file, _cells(next((line for line in lines if line.strip()), b"")))
    if lines and b"\0" in lines[0]:
        raise DataError(f"{file} must be text, but its first line holds zero bytes.")
    zeek = _zeek(file, lines)
    if zeek is not None:
        return zeek
    start, given = _start(lines)
    if start == len(lines):
        raise DataError(f"{file} must start with a header line, but is empty.")
    delimiter = given or _delimiter(lines[start:])
    rows = _rows(lines[start:], delimiter)
    try:
        first, n_lines = next(rows)
    except (csv.Error, StopIteration) as error:
        raise DataError(f"{file} must start with a header line, but does not: {error}.") from error
    sample = _sample(rows)
    told: tuple[str, ...] = ()
    if _looks_like_data(first, sample):
        if not names:
            raise DataError(
                f"{file} must start with a header line, but its first line looks like data "
                f"({_text(lines[start])[:60]!r}); name its {len(first)} columns with "
                "data.columns=[...]."
            )
        header, at = b"", start
    elif (
        names and tidy_names(first) != list(names) and any(_is_number(c) for r in sample for c in r)
    ):
        raise DataError(
            f"data.columns gives names to files without a header line, but {file} starts with one "
            f"({_text(lines[start])[:60]!r}); drop data.columns."
        )
    elif names and tidy_names(first) != list(names):  # nothing but text: nothing tells a header
        header, at = b"", start
    else:
        # Of one column a row may well equal the name, and a name over two lines is no line.
        header = lines[start] if len(first) > 1 and n_lines == 1 else b""
        at = start + n_lines
        told = tuple(note for note in [renamed_note(file, first)] if note)
    if sample and not any(row[len(first) :] != [""] for row in sample):
        first = [*first, ""]  # every line but the header ends in a delimiter
    columns = list(names) if names else tidy_names(first)
    if len(columns) < len(first) and not any(row[len(columns) :] != [""] for row in sample):
        columns.append(f"Unnamed: {len(columns)}")
    if len(columns) != len(first):
        raise DataError(
            f"data.columns must name each column of {file}, but names {len(columns)} and its "
            f"first line has {len(first)} cells; name them all."
        )
    return CsvLayout(tuple(columns), delimiter, at, header, notes=told)


def _start(lines: Sequence[bytes]) -> tuple[int, str]:
    """Returns the line at which header or rows begin, and the delimiter where a line says it."""
    for i, line in enumerate(lines):
        text = line.strip()
        if text.lower().startswith(b"sep=") and len(text) == 5:  # Excel's own
            return i + 1, _text(text)[-1]
        if not text:
            continue
        after = next((other for other in lines[i + 1 :] if other.strip()), b"")
        if not text.startswith(b"#") or _cells(line) == _cells(after) > 1:
            return i, ""
    return len(lines), ""


def _cells(line: bytes) -> int:
    return 1 + max(line.count(delimiter.encode()) for delimiter in _DELIMITERS)


def _delimiter(lines: Sequence[bytes]) -> str:
    """Chooses the delimiter that divides the first line into most cells, and the next into as many
    if any does.

    Cells in quotes may hold any.
    """
    found = {}
    for delimiter in _DELIMITERS:
        rows = _rows(lines, delimiter)
        widths = []
        try:
            widths = [len(row) for row, _ in (next(rows, ([], 0)) for _ in range(2))]
        except csv.Error:
            widths = [*widths, 0, 0][:2]
        found[delimiter] = (abs(widths[0] - widths[1]) <= 1 < widths[0], widths[0])
    return max(_DELIMITERS, key=lambda delimiter: found[delimiter])


def _rows(lines: Sequence[bytes], delimiter: str) -> Iterator[tuple[list[str], int]]:
    """Yields rows with how many lines they take up, blank ones left out."""
    reader = csv.reader((_text(line) + "\n" for line in lines), delimiter=delimiter)
    taken = 0
    for row in reader:
        n_lines, taken = reader.line_num - taken, reader.line_num
        if row:
            yield row, n_lines


def _sample(rows: Iterator[tuple[list[str], int]]) -> list[list[str]]:
    sample = []
    try:
        for row, _ in rows:
            sample.append(row)
    except csv.Error:
        pass
    return sample[: LOOKED_AT - 1]


def _looks_like_data(first: Sequence[str], sample: Sequence[Sequence[str]]) -> bool:
    """Says whether the first line has a number in each column that has numbers below.

    Consecutive integers are names, as pandas gives them to columns without any.
    """
    numbers = [cell.strip() for cell in first if _is_number(cell)]
    digits = [int(cell) for cell in numbers if cell.isdecimal()]
    if not sample or not numbers or digits == list(range(digits[0], digits[0] + len(numbers))):
        return False
    columns = zip(*(row[: len(first)] for row in sample if len(row) >= len(first)), strict=True)
    below = [any(_is_number(cell) for cell in column) for column in columns]
    return any(below) and all(
        _is_number(cell) or cell.strip().lower() in _UNSET
        for cell, is_numeric in zip(first, below, strict=False)
        if is_numeric
    )


def _is_number(cell: str) -> bool:
    return _NUMBER.fullmatch(cell.strip()) is not None


def _zeek(file: Path, lines: Sequence[bytes]) -> CsvLayout | None:
    """Returns the layout of a Zeek log, whose header is a comment."""
    if not lines or not lines[0].startswith((b"#separator", b"#fields")):
        return None
    for i, line in enumerate(lines):
        if line.startswith(b"#fields"):
            names = tidy_names(_text(line).split("\t")[1:])
            rest = next((j for j in range(i, len(lines)) if not lines[j].startswith(b"#")), i + 1)
            return CsvLayout(tuple(names), "\t", rest, b"", is_zeek=True)
    raise DataError(f"{file} must name its columns in a '#fields' line, but has none.")


def _text(line: bytes) -> str:
    return decoded(line).strip("\r\n")


def decoded(content: bytes) -> str:
    """Decodes text as UTF-8, else as Windows-1252, else as Latin-1, in which every byte is a
    letter."""
    for encoding in ("utf-8", "cp1252"):
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            continue
    return content.decode("latin-1")
