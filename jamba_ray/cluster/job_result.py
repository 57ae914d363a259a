"""Packs a sweep's result into lines at the end of the job's log, and unpacks it.

The job API gives logs and nothing else, and the machine that submits may not reach the store.
"""

from __future__ import annotations

import base64
import json
import re
import signal
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from jamba_ray.errors import ExitCode
from jamba_ray.runs.file_writes import write_bytes

FILES = ("summary.json", "config.yaml", "log.txt", "trials.parquet", "report.html", "report.md")
"""Files that are sent, if they exist; no other name is ever written."""
MAX_FILE_BYTES = 2_000_000
_LINE_BYTES = 8_000
_LINE = re.compile(r"^@jamba_ray:job_result (\d+)/(\d+) ([A-Za-z0-9+/=]*)\s*$", flags=re.M)
MARK = "@jamba_ray:job_result "
"""The beginning of each line of a result."""
_MAX_BYTES = 64_000_000


@dataclass(frozen=True)
class JobResult:
    """Holds the result that a job sends back."""

    exit_code: int
    """The sweep's exit code."""
    run: str | None
    """Name of its run folder."""
    files: Mapping[str, bytes]
    left_out: tuple[str, ...] = ()
    """Files that were too large to be sent."""


def pack(exit_code: int, folder: Path | None) -> list[str]:
    """Returns the job's result as lines for the log."""
    files: dict[str, str] = {}
    left_out = []
    for name in FILES:
        path = folder / name if folder is not None else Path(name)
        if folder is None or not path.is_file() or path.is_symlink():
            continue
        if path.stat().st_size > MAX_FILE_BYTES:
            left_out.append(name)
            continue
        files[name] = base64.b64encode(path.read_bytes()).decode()
    content = {
        "exit_code": exit_code,
        "run": folder.name if folder is not None else None,
        "files": files,
        "left_out": left_out,
    }
    text = base64.b64encode(zlib.compress(json.dumps(content).encode())).decode()
    pieces = [text[i : i + _LINE_BYTES] for i in range(0, len(text), _LINE_BYTES)]
    return [f"{MARK}{i}/{len(pieces)} {piece}" for i, piece in enumerate(pieces, start=1)]


def unpack(log: str) -> JobResult | None:
    """Returns the last complete result in a log; None where there is none."""
    for pieces in reversed(list(_groups(log))):
        try:
            inflater = zlib.decompressobj()
            raw = inflater.decompress(base64.b64decode("".join(pieces)), _MAX_BYTES)
            content = json.loads(raw)
            files = {
                name: base64.b64decode(text)
                for name, text in content["files"].items()
                if name in FILES
            }
            return JobResult(
                exit_code=int(content["exit_code"]),
                run=content["run"],
                files=files,
                left_out=tuple(content["left_out"]),
            )
        except (ValueError, KeyError, TypeError, zlib.error):
            continue
    return None


def write(job_result: JobResult, folder: Path) -> list[Path]:
    """Writes the files into ``folder``, each whole or not at all, and returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, content in job_result.files.items():
        write_bytes(folder / name, content)
        paths.append(folder / name)
    return paths


def _groups(log: str) -> Iterator[list[str]]:
    """Runs of lines 1/n to n/n."""
    current: list[str] = []
    for number, total, piece in _LINE.findall(log):
        if int(number) == 1:
            current = []
        if int(number) == len(current) + 1:
            current.append(piece)
        if len(current) == int(total):
            yield current
            current = []


def killed_by(number: int) -> ExitCode:
    """Returns the exit code for a process that a signal ended.

    It was stopped (also by the kernel, when memory runs out), or it crashed.
    """
    stopped = (signal.SIGTERM, signal.SIGKILL, signal.SIGINT, signal.SIGHUP)
    return ExitCode.INTERRUPTED if number in stopped else ExitCode.INTERNAL
