"""Finds the files behind a data section, and checks whether they are still what they were."""

from __future__ import annotations

import glob
import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from jamba_ray.config.data import DataSection, TableSection
from jamba_ray.config.fingerprint import fingerprint, fingerprint_json
from jamba_ray.errors import DataError

_PACKED = ("", ".gz", ".bz2", ".xz", ".zst", ".zip")
SUFFIXES = (
    ".parquet",
    ".pq",
    *(
        kind + packed
        for kind in (".csv", ".tsv", ".txt", ".jsonl", ".ndjson")
        for packed in _PACKED
    ),
)
_GLOB = set("*?[")
_NO_VALUE = "__HIVE_DEFAULT_PARTITION__"


def table_files(path: str) -> tuple[Path, ...]:
    """Returns the files that a file, folder (searched through) or glob stands for, sorted by name.

    In a folder, files with other suffixes and those whose name starts with ``.`` or ``_`` do not
    count. Raises DataError where there is nothing.
    """
    root = Path(path).expanduser()
    if root.is_dir():
        found = sorted(f for f in root.rglob("*") if f.is_file() and _is_table(f, root))
        if not found:
            raise DataError(
                f"the folder {path} must hold CSV, JSON lines or Parquet files, but holds none; "
                "expected names end in .parquet, .csv, .tsv, .txt or .jsonl, packed or not."
            )
        return tuple(found)
    if root.exists():
        return (root,)
    if _GLOB & set(path):
        found = sorted(f for p in glob.glob(str(root), recursive=True) if (f := Path(p)).is_file())
        if found:
            return tuple(found)
        raise DataError(f"the pattern {path} must match files, but matches none; check data.path.")
    parent = next((p for p in root.absolute().parents if p.exists()), Path("/"))
    raise DataError(f"{path} does not exist (the nearest folder that does is {parent}).")


def folder_columns(path: str, files: Sequence[Path]) -> dict[str, list[int | str | None]]:
    """Reads the columns in folder names such as ``day=2026-11-01``, as Spark and Hive write them.

    Each name has one value for each file, whole numbers where all values are.

    Folders count where every file has the same names in its path.
    """
    root = _searched_from(path)
    found = [_pairs(file, root) for file in files]
    if not found[0] or any(list(pairs) != list(found[0]) for pairs in found):
        return {}
    columns: dict[str, list[int | str | None]] = {}
    for name in found[0]:
        values = [pairs[name] for pairs in found]
        whole = all(value is None or re.fullmatch(r"0|-?[1-9]\d{0,17}", value) for value in values)
        columns[name] = [int(v) if whole and v is not None else v for v in values]
    return columns


def _searched_from(path: str) -> Path:
    """Returns the folder itself, or what of a glob comes before its first pattern."""
    root = Path(path).expanduser()
    if root.exists():
        return root
    parts = root.parts
    first = next((i for i, part in enumerate(parts) if _GLOB & set(part)), len(parts))
    return Path(*parts[:first])


def _pairs(file: Path, root: Path) -> dict[str, str | None]:
    folders = file.parent.relative_to(root).parts if file != root else ()
    pairs = (folder.split("=", 1) for folder in folders if folder.partition("=")[0].strip())
    return {
        name.strip(): None if value == _NO_VALUE else unquote(value)
        for name, value in (pair for pair in pairs if len(pair) == 2)
    }


@dataclass(frozen=True)
class SourceFile:
    """Describes a file as it was when read."""

    path: str
    size_bytes: int
    mtime_ns: int
    sha256: str


def source_files(section: DataSection) -> tuple[SourceFile, ...]:
    """Lists every file that ``section`` reads, with its content hash (none for synthetic data)."""
    return tuple(_stamp(file) for path in _paths(section) for file in table_files(path))


def source_fingerprint(section: DataSection) -> str:
    """Returns 16 hex digits over the contents of all source files in order, or over a generator's
    options.

    Names and times do not count: a moved or touched file is the same data; what folder names say
    of its rows does.
    """
    if not isinstance(section, TableSection):
        return fingerprint(section)
    folders = [folder_columns(path, table_files(path)) for path in _paths(section)]
    hashes: list[object] = [file.sha256 for file in source_files(section)]
    return fingerprint_json([*hashes, *(columns for columns in folders if columns)])


def changed_files(before: Iterable[SourceFile]) -> Sequence[str]:
    """Returns one sentence for each file that vanished or whose content is no longer what it was.

    Cheap where nothing happened: a file is read again only if its size or time changed.
    """
    sentences = []
    for file in before:
        path = Path(file.path)
        try:
            status = path.stat()
            same = (status.st_size, status.st_mtime_ns) == (file.size_bytes, file.mtime_ns)
            if not same and _sha256(path) != file.sha256:
                sentences.append(
                    f"{path} changed after it was read; restore it or start a new run."
                )
        except OSError as error:
            sentences.append(f"{path} can no longer be read ({error.strerror}); restore it.")
    return sentences


def _paths(section: DataSection) -> list[str]:
    if not isinstance(section, TableSection):
        return []
    tests = [section.test] if section.test is not None else []
    return [section.path, *tests, *section.extra_tests.values()]


def _is_table(file: Path, root: Path) -> bool:
    hidden = any(part.startswith((".", "_")) for part in file.relative_to(root).parts)
    return file.name.lower().endswith(SUFFIXES) and not hidden


def _stamp(file: Path) -> SourceFile:
    try:
        status = file.stat()
        return SourceFile(str(file.absolute()), status.st_size, status.st_mtime_ns, _sha256(file))
    except OSError as error:
        raise DataError(f"{file} must be readable, but is not: {error.strerror}.") from error


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
