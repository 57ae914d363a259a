"""One CSV file, plain or gzipped, as an Arrow table: measured in a first pass, read in a second."""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.csv as pa_csv  # type: ignore[import-untyped]

from jamba_ray.data.budget import Budget
from jamba_ray.data.header import check_names
from jamba_ray.errors import DataError

_CHUNK_BYTES = 1 << 20
_MAX_HEADER_BYTES = _BLOCK_BYTES = 16 << 20
_DELIMITERS = (",", ";", "\t", "|")
_MISSING = [
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


def read_csv_file(file: Path, budget: Budget, drop: frozenset[str] = frozenset()) -> pa.Table:
    """The table, its column types inferred from all rows; measured against ``budget`` first.

    The delimiter (``, ; tab |``) is the one most frequent in the header. Raises DataError, one
    sentence that names the file, for whatever keeps it from being a table.
    """
    with _in_one_sentence(file):
        names, delimiter, _ = _measure(file, budget, drop)
        return _read(file, names, delimiter, drop)


def csv_extent(file: Path, budget: Budget, drop: frozenset[str] = frozenset()) -> tuple[int, int]:
    """Rows (at most) and bytes of text, by a pass through it; spends both."""
    with _in_one_sentence(file):
        before = budget.text_bytes
        rows = _measure(file, budget, drop)[2]
        return rows, before - budget.text_bytes


def csv_names(file: Path) -> list[str]:
    """The column names, from the header line."""
    with _in_one_sentence(file), _open(file) as stream:
        return _header(file, stream)[0]


def is_gzip(file: Path) -> bool:
    """Whether the content (not the name) is gzip."""
    with file.open("rb") as stream:
        return stream.read(2) == b"\x1f\x8b"


def _open(file: Path) -> BinaryIO:
    # GzipFile is a BinaryIO in all but name.
    return cast(BinaryIO, gzip.open(file, "rb")) if is_gzip(file) else file.open("rb")


def _measure(file: Path, budget: Budget, drop: frozenset[str]) -> tuple[list[str], str, int]:
    """Column names, delimiter and rows; streams through the text once and spends its bytes, and the
    cells that are not in ``drop``."""
    with _open(file) as stream:
        names, delimiter, size = _header(file, stream)
        budget.spend(file, text_bytes=size)
        width = sum(name not in drop for name in names)
        rows, has_rows, ends_line = 0, False, True
        while chunk := stream.read(_CHUNK_BYTES):
            # A quoted cell may span lines, so this may count too many rows, never too few.
            lines = max(chunk.count(b"\n"), chunk.count(b"\r"))
            rows += lines
            budget.spend(file, cells=lines * width, text_bytes=len(chunk))
            has_rows = has_rows or bool(chunk.strip())
            ends_line = chunk.endswith(b"\n")
        budget.spend(file, cells=0 if ends_line else width)
    if not has_rows:
        raise DataError(f"{file} must hold rows, but has only a header.")
    return names, delimiter, rows + (not ends_line)


def _header(file: Path, stream: BinaryIO) -> tuple[list[str], str, int]:
    """Column names, delimiter and length in bytes of the first line."""
    line = stream.readline(_MAX_HEADER_BYTES)
    if not line.strip():
        raise DataError(f"{file} must start with a header line, but is empty.")
    if len(line) == _MAX_HEADER_BYTES:
        raise DataError(
            f"{file} must start with a header line, but its first line is longer than "
            f"{_MAX_HEADER_BYTES >> 20} MiB; is it a CSV file?"
        )
    try:
        text = line.decode("utf-8-sig").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{file} must be UTF-8 text, but its header is not; save it as UTF-8."
        ) from error
    if "\0" in text:
        raise DataError(f"{file} must be UTF-8 text, but holds zero bytes; is it a CSV file?")
    delimiter = max(_DELIMITERS, key=text.count)
    try:
        names = next(csv.reader([text], delimiter=delimiter))
    except (csv.Error, StopIteration) as error:
        raise DataError(f"{file} must start with a header line, but does not: {error}.") from error
    names = [name.strip() for name in names]
    check_names(file, names)
    return names, delimiter, len(line)


def _read(file: Path, names: list[str], delimiter: str, drop: frozenset[str]) -> pa.Table:
    kept = [name for name in names if name not in drop]
    options: dict[str, Any] = {
        "read_options": pa_csv.ReadOptions(
            column_names=names, skip_rows=1, use_threads=False, block_size=_BLOCK_BYTES
        ),
        "parse_options": pa_csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
        "convert_options": pa_csv.ConvertOptions(
            null_values=_MISSING,
            strings_can_be_null=True,
            quoted_strings_can_be_null=True,
            include_columns=kept,
        ),
    }
    raw = pa.OSFile(str(file), "rb")
    with pa.CompressedInputStream(raw, "gzip") if is_gzip(file) else raw as stream:
        table = pa_csv.read_csv(stream, **options)
    return table.select(kept)


@contextmanager
def _in_one_sentence(file: Path) -> Iterator[None]:
    try:
        yield
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(
            f"{file} must be a complete gzip file, but is damaged or cut short; copy it again."
        ) from error
    except pa.ArrowException as error:
        reason = " ".join(str(error).split())[:200].rstrip(".")
        raise DataError(f"{file} must be a CSV table, but is not: {reason}.") from error
    except OSError as error:
        raise DataError(
            f"{file} must be readable, but is not: {error.strerror or error}."
        ) from error
