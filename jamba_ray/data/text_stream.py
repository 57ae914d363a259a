"""Yields the content of a text file as UTF-8 bytes, whatever compresses or encodes it."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

import pyarrow as pa  # type: ignore[import-untyped]

from jamba_ray.errors import DataError

CHUNK_BYTES = 1 << 20
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_FOREIGN = {
    b"ARROW1": ("a Feather (Arrow) file", "pandas.read_feather"),
    b"ORC": ("an ORC file", "pandas.read_orc"),
    b"\xd0\xcf\x11\xe0": ("an Excel file", "pandas.read_excel"),
    b"SQLite format 3": ("an SQLite database", "pandas.read_sql"),
    b"Obj\x01": ("an Avro file", "a converter"),
    b"\x89HDF": ("an HDF5 file", "pandas.read_hdf"),
    b"\x80\x04": ("a pickle, which runs code when it is read", "pandas.read_pickle"),
    b"\x80\x05": ("a pickle, which runs code when it is read", "pandas.read_pickle"),
}
"""What files of other formats start with; the format, and what reads it."""


def text_chunks(file: Path) -> Iterator[bytes]:
    """Yields UTF-8 bytes in order, at most about a megabyte at a time, without a byte order mark.

    gzip, bzip2, xz, Zstandard and zip (of one file) are unpacked by content, not by name; UTF-16
    needs its byte order mark. Bytes that are neither pass unchanged.

    Raises:
        DataError: The file is of another format.
    """
    with opened(file) as stream:
        first = stream.read(CHUNK_BYTES)
        _refuse_foreign(file, first)
        if first.startswith(_UTF_16):
            decode = codecs.getincrementaldecoder("utf-16")().decode
            yield decode(first).encode()
            while chunk := stream.read(CHUNK_BYTES):
                yield decode(chunk).encode()
            yield decode(b"", final=True).encode()
            return
        yield first.removeprefix(codecs.BOM_UTF8)
        while chunk := stream.read(CHUNK_BYTES):
            yield chunk


@contextmanager
def opened(file: Path) -> Iterator[BinaryIO]:
    """Opens the unpacked bytes of a file.

    Raises:
        DataError: It is a zip that does not hold exactly one file.
    """
    with file.open("rb") as stream:
        magic = stream.read(6)
    unpack = next((open_ for start, open_ in _PACKED.items() if magic.startswith(start)), None)
    if unpack is None:
        with file.open("rb") as stream:
            yield stream
        return
    try:
        with unpack(file) as unpacked:
            yield unpacked
    except (*_DAMAGE, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk, not the content
        raise DataError(
            f"{file} must be a complete compressed file, but is damaged or cut short; "
            "copy it again."
        ) from error


@contextmanager
def _unzipped(file: Path) -> Iterator[BinaryIO]:
    with zipfile.ZipFile(file) as archive:
        names = [item for item in archive.infolist() if not _is_aside(item)]
        if any(item.filename.startswith(("xl/", "content.xml")) for item in names):
            raise DataError(f"{file} must be a CSV table, but is a spreadsheet; save it as CSV.")
        if len(names) != 1:
            raise DataError(
                f"{file} must hold one file to be read as a table, but holds {len(names)}; "
                "unpack it and give the folder."
            )
        if names[0].flag_bits & 1:
            raise DataError(f"{file} must not be encrypted, but is; unpack it.")
        with archive.open(names[0]) as stream:
            yield cast(BinaryIO, stream)


def _is_aside(item: zipfile.ZipInfo) -> bool:
    return item.is_dir() or item.filename.startswith("__MACOSX/")


def _zstandard(file: Path) -> Any:
    return pa.CompressedInputStream(pa.OSFile(str(file), "rb"), "zstd")


_PACKED: dict[bytes, Callable[[Path], Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\x00": lzma.open,
    b"\x28\xb5\x2f\xfd": _zstandard,
    b"PK\x03\x04": _unzipped,
}
_DAMAGE = (EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile)
"""Beside OSError without a number, which bzip2, gzip and Arrow raise."""


def _refuse_foreign(file: Path, first: bytes) -> None:
    for start, (what, reader) in _FOREIGN.items():
        if first.startswith(start):
            raise DataError(
                f"{file} must be CSV, JSON lines or Parquet, but is {what}; write it as Parquet, "
                f"for example with {reader} and DataFrame.to_parquet."
            )
    if first[:200].lstrip().lower().startswith((b"<!doctype html", b"<html")):
        raise DataError(
            f"{file} must be CSV, JSON lines or Parquet, but is a web page; download the file that "
            "it links to."
        )
    if first.startswith(b"PAR1"):
        raise DataError(f"{file} holds a compressed Parquet file; unpack it.")


class ChunkStream(io.RawIOBase):
    """Offers chunks of bytes as a file to read from."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks, self._rest = iter(chunks), memoryview(b"")

    def readable(self) -> bool:
        """Returns True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fills as much of ``buffer`` as one chunk has; returns 0 at the end."""
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._rest = memoryview(chunk)
        n = min(len(buffer), len(self._rest))
        buffer[:n], self._rest = self._rest[:n], self._rest[n:]
        return n
