"""Reads one Parquet file as an Arrow table: bounded by its footer, and by counting while
reading."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from jamba_ray.data.budget import Budget, Measured
from jamba_ray.data.header import Choice, check_distinct, check_width, renamed_note, tidy_names
from jamba_ray.errors import DataError

_BATCH_ROWS, _BATCH_CELLS, _BATCH_BYTES = 65_536, 1 << 21, 1 << 26


def read_parquet_file(file: Path, budget: Budget, choice: Choice) -> pa.Table:
    """Reads the table, its text columns dictionary-encoded, so that repeated text is held once.

    The footer's rows x columns are spent before anything is read; what comes out is counted too,
    because a footer may lie. Raises DataError, one sentence that names the file.
    """
    with in_parquet_sentence(file):
        with pq.ParquetFile(file) as opened:
            text = [f.name for f in opened.schema_arrow if _is_text(f.type)]
        # Arrow's default keeps the compressed file beside the table.
        with pq.ParquetFile(file, read_dictionary=text, pre_buffer=False) as opened:
            return _read(opened, file, budget, choice)


def parquet_names(file: Path) -> list[str]:
    """Returns the column names, from the footer."""
    with in_parquet_sentence(file), pq.ParquetFile(file) as opened:
        check_width(file, len(opened.schema_arrow.names))
        return tidy_names(opened.schema_arrow.names)


def measure_parquet_file(file: Path, budget: Budget, choice: Choice) -> Measured:
    """Measures rows and bytes of uncompressed content as the footer gives them; spends cells."""
    with in_parquet_sentence(file), pq.ParquetFile(file) as opened:
        rows, row_bytes = _promised(opened)
        names = opened.schema_arrow.names
        budget.spend(file, cells=rows * len(_kept(opened, choice)))
        note = renamed_note(file, names)
        return Measured(rows, rows * row_bytes, (note,) if note else ())


def _kept(opened: pq.ParquetFile, choice: Choice) -> dict[str, pa.Field]:
    """Returns the columns to read, by the name they get."""
    fields = list(opened.schema_arrow)
    names = tidy_names([field.name for field in fields])
    return {
        name: field for name, field in zip(names, fields, strict=True) if name not in choice.drop
    }


def _read(opened: pq.ParquetFile, file: Path, budget: Budget, choice: Choice) -> pa.Table:
    check_distinct(file, opened.schema_arrow.names)
    kept = _kept(opened, choice)
    _check_plain(file, kept)
    promised, row_bytes = _promised(opened)
    if promised == 0:
        raise DataError(f"{file} must hold rows, but has none.")
    width = max(len(kept), 1)
    budget.spend(file, cells=promised * width)
    size = max(1, min(_BATCH_ROWS, _BATCH_CELLS // width, _BATCH_BYTES // max(row_bytes, 1)))
    batches, rows = [], 0
    for batch in opened.iter_batches(
        batch_size=size, columns=[field.name for field in kept.values()], use_threads=False
    ):
        unpromised = max(rows + batch.num_rows - promised, 0) - max(rows - promised, 0)
        budget.spend(file, cells=unpromised * width, text_bytes=_text_bytes(batch))
        rows += batch.num_rows
        batches.append(batch)
    if rows < promised:
        raise DataError(
            f"{file} must hold the {promised:,} rows that its footer promises, but holds {rows:,}; "
            "write or copy it again."
        )
    return pa.Table.from_batches(batches).rename_columns(list(kept))


def _promised(opened: pq.ParquetFile) -> tuple[int, int]:
    """Returns rows, and bytes per row, as the footer gives them; where it contradicts itself, the
    more."""
    footer = opened.metadata
    groups = [footer.row_group(i) for i in range(footer.num_row_groups)]
    rows = max(footer.num_rows, sum(group.num_rows for group in groups))
    return rows, sum(group.total_byte_size for group in groups) // max(rows, 1)


def _check_plain(file: Path, kept: Mapping[str, pa.Field]) -> None:
    """Refuses lists and structs before they are read: they can unfold without limit."""
    for name, field in kept.items():
        if pa.types.is_nested(field.type):
            raise DataError(
                f"columns of {file} must hold plain values, but {name!r} holds "
                f"{str(field.type)[:60]}; spread it over columns or name it in data.drop."
            )


def _is_text(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
    )


def _text_bytes(batch: pa.RecordBatch) -> int:
    """Counts the bytes of text columns and whatever else is not of fixed width."""
    return sum(column.nbytes for column in batch.columns if not pa.types.is_primitive(column.type))


@contextmanager
def in_parquet_sentence(file: Path) -> Iterator[None]:
    """Turns what readers raise into a DataError that names the file."""
    try:
        yield
    except MemoryError as error:
        raise DataError(
            f"{file} must fit the memory some thousand rows at a time, but does not; write it with "
            "fewer columns, or with shorter cells."
        ) from error
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        reason = " ".join(str(error).split())[:160].rstrip(".")
        raise DataError(
            f"{file} must be a complete Parquet file, but is damaged or cut short ({reason}); "
            "write or copy it again."
        ) from error
