"""Writes the file of ``predict``: the rows unchanged, and three columns."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.compute as pc  # type: ignore[import-untyped]
import pyarrow.csv as pa_csv  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from jamba_ray.data.row_batches import RowBatch, RowFile
from jamba_ray.errors import ConfigError
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


class Verdicts(NamedTuple):
    """Holds the alerts of N rows and the thresholds that they come from, where these may differ."""

    alert: npt.NDArray[np.bool_]
    threshold: npt.NDArray[np.float64]

    @classmethod
    def of(cls, p: Probabilities, threshold: float) -> Verdicts:
        """Returns the verdicts of one threshold."""
        return cls(p >= threshold, np.full(len(p), threshold))


class Writer(Protocol):
    """Writes scored rows."""

    def __call__(
        self,
        batch: RowBatch,
        p: Probabilities,
        reasons: Sequence[pa.Array] = (),
        verdicts: Verdicts | None = None,
    ) -> None:
        """Writes N rows with their scores [N] and columns of reasons, each [N].

        ``verdicts``: None: they follow from the writer's threshold.
        """
        ...


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

    def write(
        batch: RowBatch,
        p: Probabilities,
        reasons: Sequence[pa.Array] = (),
        verdicts: Verdicts | None = None,
    ) -> None:
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
            table = _with_scores(batch.table(), p, verdicts or Verdicts.of(p, threshold), added)
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
        end = b"" if texts else b"\n"
        if verdicts is None:
            flags = [flag + comma + repr(threshold).encode() + end for flag in (b"1", b"0")]
            alert = pc.if_else(
                pa.array(p >= threshold), *(pa.scalar(f, pa.binary()) for f in flags)
            )
        else:
            pairs = zip(verdicts.alert.tolist(), verdicts.threshold.tolist(), strict=True)
            alert = pa.array([f"{a:d}{delimiter}{t!r}".encode() + end for a, t in pairs])
        scores = pa.array(p).cast(pa.string()).cast(pa.binary())
        joined = pc.binary_join_element_wise(lines, scores, alert, *texts, comma)
        if texts:
            line_end = pa.scalar(b"\n", pa.binary())
            joined = pc.binary_join_element_wise(joined, line_end, b"")
        stream.write(_bytes_of(joined))

    yield write


def _json(stream: IO[bytes], threshold: float, added: Sequence[str]) -> Writer:
    named = added[len(ADDED) :]

    def write(
        batch: RowBatch,
        p: Probabilities,
        reasons: Sequence[pa.Array] = (),
        verdicts: Verdicts | None = None,
    ) -> None:
        alerts, cuts = verdicts or Verdicts.of(p, threshold)
        objects = batch.objects
        if objects is None:
            rows = batch.table().to_pylist()
            objects = [{name: _json_cell(cell) for name, cell in row.items()} for row in rows]
        found = [dict(zip(named, cells, strict=True)) for cells in zip(*reasons, strict=True)]
        scored = zip(p.tolist(), alerts.astype(int).tolist(), cuts.tolist(), strict=True)
        for i, (row, cells) in enumerate(zip(objects, scored, strict=True)):
            ours = dict(zip(added, cells, strict=False))
            why = {k: one.as_py() for k, one in found[i].items()} if found else {}
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
    table: pa.Table, p: Probabilities, verdicts: Verdicts, added: Sequence[str]
) -> pa.Table:
    cells = (pa.array(p), pa.array(verdicts.alert).cast(pa.int8()), pa.array(verdicts.threshold))
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

        def write(
            batch: RowBatch,
            p: Probabilities,
            reasons: Sequence[pa.Array] = (),
            verdicts: Verdicts | None = None,
        ) -> None:
            table = _with_scores(batch.table(), p, verdicts or Verdicts.of(p, threshold), added)
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
