"""Files that no model should ever be trained on, made for real."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq


def good_frame(n: int = 200, seed: int = 0) -> pd.DataFrame:
    """Rows with a numeric and a text feature, a host, a time and both labels."""
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "bytes": rng.lognormal(5, 2, n),
            "port": rng.integers(0, 1024, n),
            "proto": rng.choice(["tcp", "udp", "icmp"], n),
            "host": rng.choice([f"host-{i}" for i in range(8)], n),
            "seen_at": pd.date_range("2026-01-01", periods=n, freq="min"),
            "is_threat": rng.integers(0, 2, n),
        }
    )


def gzip_bomb(path: Path, lines: int) -> Path:
    """A small file of many short rows."""
    chunk = b"1,2,3\n" * 100_000
    with gzip.open(path, "wb", compresslevel=9) as stream:
        stream.write(b"a,b,is_threat\n")
        for _ in range(lines // 100_000):
            stream.write(chunk)
    return path


def gzip_cell_bomb(path: Path, megabytes: int) -> Path:
    """A small file with one row, one cell of which is huge."""
    with gzip.open(path, "wb", compresslevel=9) as stream:
        stream.write(b'a,is_threat\n"')
        for _ in range(megabytes):
            stream.write(b"x" * 1_000_000)
        stream.write(b'",1\n')
    return path


def parquet_bomb(path: Path, rows: int) -> Path:
    """A few kilobytes that hold ``rows`` equal rows of two columns."""
    with pq.ParquetWriter(path, pa.schema({"a": pa.int64(), "is_threat": pa.int64()})) as writer:
        part = pa.array(np.zeros(1_000_000, dtype=np.int64))
        for _ in range(rows // 1_000_000):
            writer.write_table(pa.table({"a": part, "is_threat": part}))
    return path


def lying_parquet(path: Path, rows: int, claimed: int, *, everywhere: bool) -> Path:
    """A Parquet file of ``rows`` rows whose footer claims fewer.

    Numbers in the footer are zigzag varints; a claim is written in as many bytes as the truth.
    Without ``everywhere`` only the file's total is changed, not what each row group says of itself.
    """
    table = pa.table({"a": np.zeros(rows, np.int64), "is_threat": np.arange(rows) % 2})
    pq.write_table(table, path, row_group_size=rows)
    content = bytearray(path.read_bytes())
    start = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    truth = _varint(2 * rows)
    lie = _varint(2 * claimed, width=len(truth))
    at = content.index(truth, start)
    while at >= 0:
        content[at : at + len(truth)] = lie
        at = content.find(truth, at + 1) if everywhere else -1
    path.write_bytes(content)
    return path


def _varint(value: int, width: int = 0) -> bytes:
    out = []
    while value or len(out) < max(width, 1):
        out.append((value & 0x7F) | 0x80)
        value >>= 7
    out[-1] &= 0x7F
    return bytes(out)
