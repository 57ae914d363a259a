"""One Parquet file as an Arrow table: bounded by its footer, and by counting while reading."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from jamba_ray.data.budget import Budget
from jamba_ray.errors import DataError

_BATCH_CELLS = 1 << 21


def read_parquet_file(file: Path, budget: Budget, drop: frozenset[str] = frozenset()) -> pa.Table:
    """The table, its text columns dictionary-encoded, so that repeated text is held once.

    The footer's rows x columns are spent before anything is read; what comes out is counted too,
    because a footer may lie. Raises DataError, one sentence that names the file.
    """
    with _in_one_sentence(file):
        with pq.ParquetFile(file) as opened:
            text = [f.name for f in opened.schema_arrow if _is_text(f.type)]
        with pq.ParquetFile(file, read_dictionary=text) as opened:
            return _read(opened, file, budget, drop)


def parquet_names(file: Path) -> list[str]:
    """The column names, from the footer."""
    with _in_one_sentence(file), pq.ParquetFile(file) as opened:
        return list(opened.schema_arrow.names)


def _read(opened: pq.ParquetFile, file: Path, budget: Budget, drop: frozenset[str]) -> pa.Table:
    schema = opened.schema_arrow
    kept = [field.name for field in schema if field.name not in drop]
    _check_distinct(file, kept)
    promised = opened.metadata.num_rows
    if promised == 0:
        raise DataError(f"{file} must hold rows, but has none.")
    # Leaf columns, since a nested column unfolds to several.
    width = max(len(kept), 1)
    budget.spend(file, cells=promised * width)
    batches, rows = [], 0
    size = max(1, min(65_536, _BATCH_CELLS // width))
    for batch in opened.iter_batches(batch_size=size, columns=kept, use_threads=False):
        beyond = max(rows + batch.num_rows - promised, 0) - max(rows - promised, 0)
        budget.spend(file, cells=beyond * width, text_bytes=_text_bytes(batch))
        rows += batch.num_rows
        batches.append(batch)
    return pa.Table.from_batches(batches, schema=batches[0].schema if batches else None)


def _check_distinct(file: Path, names: list[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(
            f"column names of {file} must differ, but {twice[0]!r} comes twice or more; rename one."
        )


def _is_text(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
    )


def _text_bytes(batch: pa.RecordBatch) -> int:
    """Bytes of text columns and whatever else is not of fixed width."""
    return sum(column.nbytes for column in batch.columns if not pa.types.is_primitive(column.type))


@contextmanager
def _in_one_sentence(file: Path) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError, MemoryError) as error:
        reason = " ".join(str(error).split())[:160].rstrip(".")
        raise DataError(
            f"{file} must be a complete Parquet file, but is damaged or cut short ({reason}); "
            "write or copy it again."
        ) from error
