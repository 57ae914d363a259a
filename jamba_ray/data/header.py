"""Defines the column names of a file, and which of its columns are read."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jamba_ray.errors import DataError

MAX_COLUMNS = 30_000
"""Preparing takes minutes at 20,000 columns; a million would take hours before the first line."""
UNNAMED = "Unnamed: 0"
"""The name of a first column without one."""
_PANDAS_INDEX = re.compile(rf"__index_level_\d+__|{UNNAMED}")


@dataclass(frozen=True)
class Choice:
    """Says which columns of a file are read, and what they are called where it has no header."""

    drop: frozenset[str] = frozenset()
    """Columns that are not read."""
    names: tuple[str, ...] = ()
    """Names of the columns of a CSV file without a header line."""


def tidy_names(names: Sequence[str]) -> list[str]:
    """Returns the names under which columns are known, whatever file format they come from.

    Outer spaces do not count, a blank name becomes ``Unnamed: <position>`` and a repeated one
    ``<name>.1``, which are the names that ``pandas.read_csv`` gives.
    """
    stripped = [name.strip() or f"Unnamed: {i}" for i, name in enumerate(names)]
    taken, tidy = set(stripped), list[str]()
    given = set[str]()
    for name in stripped:
        unused, n = name, 0
        while unused in given or (n and unused in taken):
            n += 1
            unused = f"{name}.{n}"
        given.add(unused)
        tidy.append(unused)
    return tidy


def renamed_note(file: Path, names: Sequence[str]) -> str:
    """Returns a sentence on names that come more than once, or an empty string."""
    counts = Counter(stripped for name in names if (stripped := name.strip()))
    twice = [name for name, n in counts.items() if n > 1]
    if not twice:
        return ""
    more = f" and {len(twice) - 1} more" if len(twice) > 1 else ""
    return (
        f"{file.name} has the column {twice[0]!r} {counts[twice[0]]} times{more}; the later ones "
        f"are called '{twice[0]}.1' and so on."
    )


def may_be_index(name: str) -> bool:
    """Says whether pandas gives this name to an index that has none of its own."""
    return _PANDAS_INDEX.fullmatch(name) is not None


def check_width(file: Path, columns: int) -> None:
    """Checks that a file has no more columns than can be trained on.

    Raises:
        DataError: It has; the sentence names ``file``.
    """
    if columns > MAX_COLUMNS:
        raise DataError(
            f"{file} must have at most {MAX_COLUMNS:,} columns, but has {columns:,}; keep those "
            "that matter in a copy of it, or turn it if its rows are written as columns."
        )


def check_distinct(file: Path, names: Sequence[str]) -> None:
    """Checks that all names differ.

    Raises:
        DataError: Some are the same; the sentence names ``file``.
    """
    twice = [name for name, n in Counter(names).items() if n > 1]
    if twice:
        raise DataError(
            f"column names of {file} must differ, but {twice[0]!r} comes twice or more; rename one."
        )
