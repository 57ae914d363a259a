"""Writes the file of ``predict``: the rows unchanged, and three columns."""

from __future__ import annotations

import errno
import json
import math
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any, Literal, Protocol, TypeAlias

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.compute as pc  # type: ignore[import-untyped]
import pyarrow.csv as pa_csv  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from jamba_ray.data.row_batches import RowBatch, RowFile
from jamba_ray.errors import ConfigError, RunExistsError, StorageError
from jamba_ray.inference.reasons import KIND, as_cells, as_text
from jamba_ray.inference.scorer import Probabilities

_OTHER = "cp1252"
"""The encoding of rows that are not UTF-8, as they are read; what is added to them has it too."""
ADDED = ("score", "alert", "threshold")
PROBABILITY = "probability"
PREFIX = "threat_"
"""What the names of all added columns begin with where the rows have one of those names already."""
Kind: TypeAlias = Literal["csv", "json", "parquet"]
_KINDS: dict[str, Kind] = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".jsonl": "json",
    ".ndjson": "json",
}
_NOT_WRITTEN = {
    *(".gz", ".bz2", ".xz", ".zst", ".zip", ".xls", ".xlsx", ".json", ".feather", ".arrow"),
    *(".orc", ".avro", ".pkl"),
}
"""Ends of names that promise a format other than what would be written: CSV."""


def kind_of(path: Path) -> Kind:
    """Returns the format that the name of an output file asks for.

    Raises:
        ConfigError: It is none that can be written.
    """
    suffix = path.suffix.lower()
    if suffix in _NOT_WRITTEN:
        raise ConfigError(
            [
                f"`output` must be CSV, JSON lines or Parquet, but its name ends in {suffix!r}. "
                "Write a name that ends in .csv, .jsonl or .parquet."
            ]
        )
    return _KINDS.get(suffix, "csv")


def added_columns(
    explain: int, *, probability: bool = False, names: Sequence[str] = ()
) -> tuple[str, ...]:
    """Returns the names of the columns that follow those of the rows, which are called ``names``;
    where one of them is taken, all begin with ``PREFIX``."""
    reasons = (f"reason_{rank}" for rank in range(1, explain + 1))
    added = (*ADDED, *([PROBABILITY] if probability else []), *reasons)
    return tuple(f"{PREFIX}{name}" for name in added) if {*added} & {*names} else added


class Writer(Protocol):
    """Writes scored rows."""

    def __call__(self, batch: RowBatch, p: Probabilities, reasons: Sequence[pa.Array] = ()) -> None:
        """Writes N rows with their scores [N] and columns of reasons, each [N]."""
        ...


@contextmanager
def whole_file(path: Path, *, overwrite: bool) -> Iterator[IO[bytes]]:
    """Yields a temporary file that is renamed to ``path`` when the block ends without an error.

    Raises:
        RunExistsError: ``path`` exists and ``overwrite`` is false, or it is no regular file.
        StorageError: The disk refuses the write.
    """
    refuse_used(path, overwrite=overwrite)
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(handle, "wb", buffering=1 << 20) as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            umask = os.umask(0)
            os.umask(umask)
            os.chmod(temporary, 0o666 & ~umask)
            if overwrite:
                os.replace(temporary, path)
            else:
                _rename_to_unused(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        if not path.parent.is_dir():
            raise StorageError(
                f"the folder of the output must exist, but {str(path.parent)!r} does not. Make it, "
                "or choose another `output=`."
            ) from error
        way_out = "Free some space or choose" if error.errno == errno.ENOSPC else "Choose"
        raise StorageError(
            f"{str(path)!r} must be writable, but is not ({error.strerror or error}). {way_out} "
            "another `output=`."
        ) from error


@contextmanager
def standard_output() -> Iterator[IO[bytes]]:
    """Yields standard output and flushes it when the block ends; written bytes cannot be taken
    back."""
    stream = sys.stdout.buffer
    yield stream
    stream.flush()


def _rename_to_unused(temporary: str, path: Path) -> None:
    try:
        os.link(temporary, path)  # unlike a rename, never replaces a file that came meanwhile
    except FileExistsError:
        refuse_used(path, overwrite=False)
    except OSError:  # a file system without hard links
        refuse_used(path, overwrite=False)
        os.replace(temporary, path)
        return
    os.unlink(temporary)


def refuse_used(path: Path, *, overwrite: bool) -> None:
    """Raises RunExistsError where the output would replace a file that it must not replace."""
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise RunExistsError(
            f"the output must be a file of its own, but {str(path)!r} is something else. Choose "
            "another `output=`."
        )
    if path.exists() and not overwrite:
        raise RunExistsError(
            f"the output must not exist yet, but {str(path)!r} does. Replace it with "
            "`overwrite=true`, or choose another `output=`."
        )


def refuse_input(path: Path, files: Sequence[Path], given: str) -> None:
    """Raises RunExistsError where the output is one of the ``files`` of rows, or would be the next
    time that the folder ``given`` is scored."""
    if path.exists() and any(file.samefile(path) for file in files):
        raise RunExistsError(
            f"the output must be another file than the rows, but {str(path)!r} holds rows. Choose "
            "another `output=`."
        )
    if Path(given).is_dir() and path.resolve().is_relative_to(Path(given).resolve()):
        raise RunExistsError(
            f"the output must lie outside of the folder of the rows, but {str(path)!r} lies in "
            f"{given!r} and would be scored with it the next time. Choose another `output=`."
        )


@contextmanager
def writer_to(
    stream: IO[bytes],
    source: RowFile,
    threshold: float,
    *,
    kind: Kind,
    added: Sequence[str] = ADDED,
) -> Iterator[Writer]:
    """Yields a function that writes rows of ``source`` with the columns of ``added_columns`` to
    ``stream``."""
    named = added[len(ADDED) :]
    if kind == "parquet":
        yield from _parquet(stream, source, threshold, added)
        return
    if kind == "json":
        yield _json(stream, threshold, added)
        return
    delimiter = source.delimiter
    header = source.header or _names_line(source.names)
    stream.write(header + (delimiter + delimiter.join(added)).encode() + b"\n")
    encoding = "utf-8" if _is_utf8(header) else _OTHER

    def write(batch: RowBatch, p: Probabilities, reasons: Sequence[pa.Array] = ()) -> None:
        nonlocal encoding
        lines = batch.lines
        if lines is None:
            lines = _as_lines(batch.table(), delimiter)
            if lines is not None and encoding != "utf-8":
                texts = lines.cast(pa.string()).to_pylist()
                lines = pa.array([text.encode(encoding, "replace") for text in texts], pa.binary())
        elif reasons and encoding == "utf-8" and not _is_utf8(_bytes_of(lines)):
            encoding = _OTHER
        if lines is None:  # a cell holds a line end, so that a row is not a line
            table = _with_scores(batch.table(), p, threshold, added)
            for name, cells in zip(named, reasons, strict=True):
                table = table.append_column(name, as_text(cells))
            sink = pa.BufferOutputStream()
            pa_csv.write_csv(table, sink, _options(delimiter))
            content = memoryview(sink.getvalue())
            is_same = encoding == "utf-8"
            stream.write(content if is_same else str(content, "utf-8").encode(encoding, "replace"))
            return
        texts = list(as_cells(reasons, delimiter, encoding))
        comma = delimiter.encode()
        flags = [flag + comma + repr(threshold).encode() for flag in (b"1", b"0")]
        if not texts:
            flags = [flag + b"\n" for flag in flags]
        alert = pc.if_else(pa.array(p >= threshold), *(pa.scalar(f, pa.binary()) for f in flags))
        scores = pa.array(p).cast(pa.string()).cast(pa.binary())
        joined = pc.binary_join_element_wise(lines, scores, alert, *texts, comma)
        if texts:
            line_end = pa.scalar(b"\n", pa.binary())
            joined = pc.binary_join_element_wise(joined, line_end, b"")
        stream.write(_bytes_of(joined))

    yield write


def _json(stream: IO[bytes], threshold: float, added: Sequence[str]) -> Writer:
    named = added[len(ADDED) :]

    def write(batch: RowBatch, p: Probabilities, reasons: Sequence[pa.Array] = ()) -> None:
        objects = batch.objects
        if objects is None:
            rows = batch.table().to_pylist()
            objects = [{name: _json_cell(cell) for name, cell in row.items()} for row in rows]
        found = [dict(zip(named, cells, strict=True)) for cells in zip(*reasons, strict=True)]
        for i, (row, score) in enumerate(zip(objects, p.tolist(), strict=True)):
            ours = dict(zip(added, (score, int(score >= threshold), threshold), strict=False))
            why = {k: cell.as_py() for k, cell in found[i].items()} if found else {}
            line = json.dumps({**row, **ours, **why}, ensure_ascii=False, default=str)
            stream.write(line.encode("utf-8", "surrogatepass") + b"\n")

    return write


def _json_cell(cell: Any) -> Any:
    """Returns None for NaN and infinity, which JSON lacks: readers refuse a line with one."""
    return None if isinstance(cell, float) and not math.isfinite(cell) else cell


def _is_utf8(content: bytes | memoryview) -> bool:
    try:
        str(content, "utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _bytes_of(cells: pa.Array) -> memoryview:
    """Returns the bytes of binary cells, concatenated."""
    if isinstance(cells, pa.ChunkedArray):
        cells = cells.combine_chunks()
    _, offsets, content = cells.buffers()
    ends = memoryview(offsets).cast("i")
    return memoryview(content)[ends[cells.offset] : ends[cells.offset + len(cells)]]


def _as_lines(table: pa.Table, delimiter: str) -> pa.Array | None:
    sink = pa.BufferOutputStream()
    pa_csv.write_csv(table, sink, _options(delimiter))
    content = sink.getvalue()
    lines = pa_csv.read_csv(
        pa.BufferReader(content),
        read_options=pa_csv.ReadOptions(column_names=["line"]),
        parse_options=pa_csv.ParseOptions(
            delimiter="\x1f", quote_char=False, ignore_empty_lines=False
        ),
        convert_options=pa_csv.ConvertOptions(column_types={"line": pa.binary()}),
    )
    is_same = lines.num_rows == table.num_rows and lines.num_columns == 1
    return lines.column(0).combine_chunks() if is_same else None


def _options(delimiter: str) -> pa_csv.WriteOptions:
    return pa_csv.WriteOptions(include_header=False, delimiter=delimiter, quoting_style="needed")


def _names_line(names: tuple[str, ...]) -> bytes:
    sink = pa.BufferOutputStream()
    table = pa.table({name: pa.array([], pa.string()) for name in names})
    pa_csv.write_csv(table, sink, pa_csv.WriteOptions(quoting_header="needed"))
    return bytes(sink.getvalue()).rstrip(b"\n")


def _with_scores(
    table: pa.Table, p: Probabilities, threshold: float, added: Sequence[str]
) -> pa.Table:
    n = len(p)
    cells = (pa.array(p), pa.array(p >= threshold).cast(pa.int8()), pa.repeat(threshold, n))
    for name, column in zip(added, cells, strict=False):
        table = table.append_column(name, column)
    return table


def _parquet(
    stream: IO[bytes], source: RowFile, threshold: float, added: Sequence[str]
) -> Iterator[Writer]:
    named = added[len(ADDED) :]
    schema = source.schema or pa.schema([(name, pa.string()) for name in source.names])
    for name, kind in zip(added, (pa.float64(), pa.int8(), pa.float64()), strict=False):
        schema = schema.append(pa.field(name, kind))
    for name in named:
        is_probability = name.removeprefix(PREFIX) == PROBABILITY
        schema = schema.append(pa.field(name, pa.float64() if is_probability else KIND))
    with ExitStack() as stack:
        opened: list[pq.ParquetWriter] = []

        def write(batch: RowBatch, p: Probabilities, reasons: Sequence[pa.Array] = ()) -> None:
            table = _with_scores(batch.table(), p, threshold, added)
            for name, cells in zip(named, reasons, strict=True):
                table = table.append_column(name, cells)
            table = table.cast(schema)
            if not opened:
                writer = pq.ParquetWriter(stream, schema, use_dictionary=_repeating(table))
                opened.append(stack.enter_context(writer))
            opened[0].write_table(table)

        yield write
        if not opened:
            stack.enter_context(pq.ParquetWriter(stream, schema))


def _repeating(table: pa.Table) -> list[str]:
    """Returns the columns that a dictionary makes smaller: all but numbers that hardly repeat.

    For those it takes more than half of the time of writing.
    """
    few = table.num_rows // 16
    return [
        name
        for name, column in zip(table.column_names, table.columns, strict=True)
        if not (pa.types.is_floating(column.type) or pa.types.is_integer(column.type))
        or pc.count_distinct(column).as_py() <= few
    ]
