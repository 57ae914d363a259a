"""Writes and checks JSON lines in commits: each line's checksum covers all lines before it.

A commit is some JSON objects, one a line. Two keys are appended to them, which other readers of the
lines may ignore: ``sum``, and in the last line of a commit ``commit``, its number from 1. So a
commit counts as a whole or not at all, and a line that was changed, removed or moved is noticed.
Two copies of such a file are the same bytes: what one of them lost is taken from the other.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

_SUM = b',"sum":"'
_HEX = 16
_TAIL = len(_SUM) + _HEX + len(b'"}\n')
_COMMIT = re.compile(rb',"commit":(\d{1,15})\Z')
_LOOKS_WHOLE = re.compile(rb',"commit":(\d{1,15}),"sum":"[0-9a-f]{16}"}\n')


@dataclass(frozen=True)
class Position:
    """Holds the end of a commit, after which the next one is written."""

    size: int = 0
    """Bytes up to here."""
    commits: int = 0
    sum: str = ""
    """Checksum of everything up to here."""


@dataclass(frozen=True)
class Merged:
    """Holds what two copies of a file contain together."""

    data: bytes
    """The whole commits from the first one on."""
    end: Position
    newest: int
    """The last commit that either file seems to have held, damaged or not."""


def encode(lines: Sequence[bytes], after: Position) -> tuple[bytes, Position]:
    """Returns the bytes of a commit of these JSON objects, and the position after it."""
    out, previous = [], after.sum
    for n, line in enumerate(lines, 1):
        body = line[:-1]
        if n == len(lines):
            body += b',"commit":%d' % (after.commits + 1)
        previous = checksum(previous, body)
        out.append(body + _SUM + previous.encode() + b'"}\n')
    data = b"".join(out)
    return data, Position(after.size + len(data), after.commits + 1, previous)


def commits(data: bytes, after: Position = Position()) -> Iterator[Position]:
    """Yields the end of each whole commit in ``data``, which follows ``after``."""
    at, previous, number = 0, after.sum, after.commits
    while (line := _line(data, at, previous)) is not None:
        at, commit, previous = line
        if commit is not None:
            if commit != number + 1:
                return
            number = commit
            yield Position(after.size + at, number, previous)


def merge(main: bytes, copy: bytes) -> Merged:
    """Merges two copies to the longest whole file, taking each line from either of them."""
    end = Position()
    for end in commits(main):  # noqa: B007 (the last one)
        pass
    if end.size == len(main) and len(copy) <= len(main):
        return Merged(main, end, end.commits)
    out, at, previous = bytearray(main[: end.size]), end.size, end.sum
    while True:
        source = main
        if (line := _line(main, at, previous)) is None:
            source = copy
            if (line := _line(copy, at, previous)) is None:
                break
        out += source[at : line[0]]
        at, commit, previous = line
        if commit is not None:
            if commit != end.commits + 1:
                break
            end = Position(at, commit, previous)
    newest = [newest_commit(data, max(0, end.size - _TAIL)) for data in (main, copy)]
    return Merged(bytes(out[: end.size]), end, max(end.commits, *newest))


def newest_commit(data: bytes, start: int = 0) -> int:
    """Returns the largest commit number that ``data`` seems to hold, damaged or not."""
    return max((int(found[1]) for found in _LOOKS_WHOLE.finditer(data, start)), default=0)


def checksum(previous: str, body: bytes) -> str:
    """Returns the checksum of a line, which covers all lines before it through ``previous``."""
    return hashlib.sha256(previous.encode() + body).hexdigest()[:_HEX]


def _line(data: bytes, start: int, previous: str) -> tuple[int, int | None, str] | None:
    """Returns (end, number of the commit that it ends, checksum) of an undamaged line.

    None if it is damaged, or there is no line.
    """
    end = data.find(b"\n", start) + 1
    body_end = end - _TAIL
    if body_end < start or not data.startswith(_SUM, body_end):
        return None
    body = data[start:body_end]
    found = data[body_end + len(_SUM) : end - 3]
    if found != checksum(previous, body).encode() or data[end - 3 : end] != b'"}\n':
        return None
    commit = _COMMIT.search(body, max(0, len(body) - 32))
    return end, int(commit[1]) if commit else None, found.decode()


def content_of(path: Path) -> bytes:
    """Returns what a file holds; nothing where it is missing."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
