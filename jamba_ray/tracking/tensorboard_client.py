"""Writes TensorBoard's event files, a folder per trial, from the local rows."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jamba_ray.config.params import flatten
from jamba_ray.tracking.tracked_run import Row, TrackedRun

FOLDER = "tensorboard"


class EventFiles:
    """Writes ``<run folder>/tensorboard/<trial>/events.out.tfevents.*``.

    The local rows are authoritative: existing event files are deleted and written anew, so that a
    run that is continued has each step once. Uses no torch.
    """

    def __init__(self, run_folder: Path) -> None:
        """Raises ImportError where ``tensorboard`` is not installed."""
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self._writer_of = EventFileWriter
        self._folder = run_folder / FOLDER
        shutil.rmtree(self._folder, ignore_errors=True)
        self._open: dict[str, _Events] = {}
        self._ended: set[str] = set()

    def write(self, runs: Sequence[TrackedRun]) -> None:
        """Writes the rows that are new; raises OSError where the disk refuses."""
        for run in runs:
            if run.id in self._ended or not run.rows:
                continue
            events = self._open.get(run.id)
            if events is None:
                known = run.config.get("trial")
                folder = self._folder / (run.job_type if known is None else f"trial-{known:04d}")
                events = self._open[run.id] = _Events(self._writer_of(str(folder)), run)
            events.write(run.rows)
            if run.ended:
                self._ended.add(run.id)
                self._open.pop(run.id).close()

    def close(self) -> None:
        """Closes the files of runs that have not ended."""
        while self._open:
            self._open.popitem()[1].close()


class _Events:
    """Writes one trial's event file."""

    def __init__(self, writer: Any, run: TrackedRun) -> None:
        from tensorboard.plugins.hparams.summary_v2 import hparams_pb

        self._writer = writer
        self._next_step = 0
        if "trial" not in run.config:
            return
        # TensorBoard's "HParams" tab compares trials by these.
        sections = {k: run.config[k] for k in ("model", "training") if k in run.config}
        params = {k: v for k, v in flatten(sections).items() if isinstance(v, (str, int, float))}
        self._add(hparams_pb(params, trial_id=run.name), 0, time.time())

    def write(self, rows: Sequence[Row]) -> None:
        """Adds the rows that the file does not have yet."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        new = [row for row in rows if row.step >= self._next_step]
        for row in new:
            values = [
                Summary.Value(tag=name, simple_value=value)
                for name, value in row.values.items()
                if name != "_timestamp"
            ]
            at = float(row.values.get("_timestamp", 0.0)) or time.time()
            self._add(Summary(value=values), row.step, at)
            self._next_step = row.step + 1
        if new:
            self._writer.flush()

    def _add(self, summary: Any, step: int, at: float) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        self._writer.add_event(Event(wall_time=at, step=step, summary=summary))

    def close(self) -> None:
        self._writer.close()
