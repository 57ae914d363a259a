"""Writes the local rows: every report of every trial as a line of JSON, before the study gets it.

There is one file per trial, ``rows/trial-0007.jsonl``. The process that trains the trial appends to
it; where that process runs on a machine without the run folder, the row is sent with the report and
the study's server appends it. Each step is written once: a continued trial repeats the reports made
since its last checkpoint, and keeps the rows that it has, as the study keeps its values. Files are
only ever appended to. Readers of runs made by earlier versions keep the last of repeated rows.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import resource
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jamba_ray.errors import StorageError
from jamba_ray.runs.file_writes import open_to_append, write_bytes

FOLDER = "rows"


class RowLog:
    """Appends rows below ``run_folder``, which it never makes; a full disk costs rows, no trial."""

    def __init__(self, run_folder: Path, *, system: bool = True) -> None:
        """Sets up the log; ``system`` adds this process's memory, CPU and GPU use to rows."""
        self._folder = run_folder / FOLDER
        self._system = system
        self._written: dict[int, _Written] = {}
        self._cpu = _Cpu()

    def write(
        self,
        trial: int,
        step: int,
        metrics: Mapping[str, float],
        **counts: float,
    ) -> None:
        """Writes one report as a row."""
        self.append(self.row(trial, step, metrics, **counts))

    def row(
        self,
        trial: int,
        step: int,
        metrics: Mapping[str, float],
        **counts: float,
    ) -> dict[str, Any]:
        """Returns one report as a row; NaN becomes null.

        ``counts`` are rows_seen, epoch, seconds and goodput_s.
        """
        return {
            "trial": trial,
            "step": step,
            **{k: _finite(v) for k, v in counts.items()},
            "metrics": {k: _finite(v) for k, v in metrics.items()},
            "system": self._load() if self._system else {},
            "time": time.time(),
        }

    def append(self, row: Mapping[str, Any]) -> None:
        """Writes a row that this process or another one's ``row`` made, unless its step has one.

        Raises:
            StorageError: The run folder is gone. It is not made again: a disk that was unmounted
                must not be written to as an empty folder of the same name.
        """
        trial, step = int(row["trial"]), int(row["step"])
        path = row_file(self._folder.parent, trial)
        try:
            self._folder.mkdir(exist_ok=True)
            known = self._written.get(trial)
            if known is None or known.size != _size(path):
                # Not read yet, or another process continued the trial meanwhile.
                known = self._written[trial] = _read(path)
            if step in known.steps:
                return
            # Opened for each row: a runner trains many trials, and a row takes well under a
            # millisecond.
            with open_to_append(path) as file:
                # The process that wrote a torn row was killed in the middle of it.
                file.write(("\n" if known.torn else "") + json.dumps(row, allow_nan=False) + "\n")
            known.steps.add(step)
            known.size, known.torn = _size(path), False
        except OSError as error:
            if not self._folder.parent.is_dir():
                raise StorageError(
                    f"the run folder must stay where it is, but {str(self._folder.parent)!r} is "
                    "gone. Mount it again or move it back, then `resume=true`."
                ) from error

    def _load(self) -> dict[str, float]:
        return {
            "peak_rss_mb": round(_peak_rss_mb(), 1),
            "cpu": self._cpu.share(),
            **gpu_load(),
        }


@dataclass
class _Written:
    """Holds what the file of a trial's rows contains."""

    steps: set[int]
    size: int
    torn: bool
    """Whether its last line has no end."""


def _read(path: Path) -> _Written:
    content = path.read_bytes() if path.exists() else b""
    torn = not (content or b"\n").endswith(b"\n")
    return _Written({int(row["step"]) for row in rows_of(path)}, len(content), torn)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def row_file(run_folder: Path, trial: int) -> Path:
    """Returns the path of a trial's rows."""
    return run_folder / FOLDER / f"trial-{trial:04d}.jsonl"


def read_rows(run_folder: Path) -> Iterator[dict[str, Any]]:
    """Yields every whole row, by trial and step."""
    for path in row_files(run_folder):
        yield from rows_of(path)


def row_files(run_folder: Path) -> list[Path]:
    """Returns the existing files of rows, by trial."""
    return sorted((run_folder / FOLDER).glob("trial-*.jsonl"))


def take_rows(run_folder: Path, lines: Iterable[bytes]) -> None:
    """Takes over rows of another copy of the run, for trials that have none here."""
    found: dict[int, list[bytes]] = defaultdict(list)
    for line in lines:
        with contextlib.suppress(ValueError, KeyError, TypeError):
            found[int(json.loads(line)["trial"])].append(line)
    (run_folder / FOLDER).mkdir(exist_ok=True)
    for trial, own in found.items():
        path = row_file(run_folder, trial)
        if not path.exists():
            write_bytes(path, b"\n".join(own) + b"\n")


def fill_rows(run_folder: Path, trial: int, curve: Iterable[tuple[int, float]], key: str) -> int:
    """Writes a row of the metric ``key`` alone for each report of ``curve`` that has no row.

    Such rows were lost with their machine. Returns how many were written.
    """
    known = {row["step"] for row in rows_of(row_file(run_folder, trial))}
    log = RowLog(run_folder, system=False)
    missing = [(step, value) for step, value in curve if step not in known]
    for step, value in missing:
        log.write(trial, step, {key: value})
    return len(missing)


def rows_of(path: Path) -> list[dict[str, Any]]:
    """Returns the rows of one trial by step, the last of repeated ones; skips a torn line."""
    found: dict[int, dict[str, Any]] = {}
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    for line in text.splitlines():
        try:
            row = json.loads(line)
            found[int(row["step"])] = row
        except (ValueError, KeyError, TypeError):
            continue
    return [found[step] for step in sorted(found)]


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _peak_rss_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def gpu_load() -> dict[str, float]:
    """Returns the peak MB that this process used of its GPU, and the GPU's utilisation in percent.

    The utilisation needs ``pynvml``. Empty in a process that uses no GPU.
    """
    # A process that uses a GPU has imported torch; readers of rows must not.
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return {}
    load = {"gpu_peak_mb": round(torch.cuda.max_memory_allocated() / 2**20, 1)}
    # Neither a missing pynvml nor a driver without values may cost a row.
    with contextlib.suppress(Exception):
        load["gpu_percent"] = float(torch.cuda.utilization())
    return load


class _Cpu:
    """Measures the CPU time of this process since the last call, in cores."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._wall, self._cpu = clock(), _cpu_s()

    def share(self) -> float:
        wall, cpu = self._clock(), _cpu_s()
        share = (cpu - self._cpu) / max(1e-3, wall - self._wall)
        self._wall, self._cpu = wall, cpu
        return round(share, 3)


def _cpu_s() -> float:
    times = os.times()
    return times.user + times.system
