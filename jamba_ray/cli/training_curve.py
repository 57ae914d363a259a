"""Shows the progress of one training: a bar on a terminal, else a line for each report."""

from __future__ import annotations

import time
from collections.abc import Sequence

from rich.console import Console, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from jamba_ray.cli.phases import Phases
from jamba_ray.config.run import TrainConfig
from jamba_ray.config.training_length import most_rows, usual_rows
from jamba_ray.reports.words import LABELS, duration, fitting
from jamba_ray.runs.file_writes import RunLog
from jamba_ray.training import Decision, Report

_BAR, _LEAST_BAR = 30, 10


class TrainingCurve:
    """Shows the reports as they come: a progress bar on a terminal, else a line each."""

    def __init__(
        self, console: Console, phases: Phases, config: TrainConfig, n_train: int, log: RunLog
    ) -> None:
        self.points: list[tuple[int, float]] = []
        self._console, self._phases, self._log = console, phases, log
        self._objective, self._label = config.objective, LABELS[config.objective]
        self._rows = usual_rows(config.training, n_train)
        self._most = most_rows(config.training, n_train)
        self._begun = time.monotonic()
        self._last: Report | None = None
        self._first: tuple[float, int] | None = None
        self._last_at = (0.0, 0)

    def __enter__(self) -> TrainingCurve:
        self._begun = time.monotonic()
        self._phases.begin("training", self._render)
        return self

    def __exit__(self, *_: object) -> None:
        self._phases.end()

    def report(self, reports: Sequence[Report]) -> list[Decision]:
        """Shows one report and lets the training continue."""
        for report in reports:
            value = report.metrics[f"val/{self._objective}"]
            self.points.append((report.step, value))
            now = (time.monotonic(), report.rows_seen)
            self._first, self._last_at = self._first or now, now
            self._last = report
            line = " ".join(self._parts(report))
            self._log.write(line)
            if not self._phases.is_animated:
                self._console.print(line, highlight=False, soft_wrap=True)
        return ["continue"] * len(reports)

    def _parts(self, report: Report) -> list[str]:
        value = report.metrics[f"val/{self._objective}"]
        return [
            f"epoch {report.epoch:.2f}",
            f"{self._label} {value:.5f}",
            f"loss {report.metrics['train/loss']:.4f}",
        ]

    def _left(self) -> str:
        """Says how long training will still take, by the rate since the first report.

        The time before that report includes work that is done only once.
        """
        if self._first is None:
            return ""
        (first, rows), (last, seen) = self._first, self._last_at
        if seen == rows:
            first, rows = self._begun, 0
        if seen > self._rows:  # only the longest that it may still take is known
            return ""
        left = (self._rows - seen) * (last - first) / max(1, seen - rows)
        return f"about {duration(max(0.0, left - (time.monotonic() - last)))} left"

    def _render(self) -> RenderableType:
        width, last = self._console.width, self._last
        parts = [f"training, {duration(time.monotonic() - self._begun)}", self._left()]
        parts += self._parts(last) if last else []
        words = fitting(parts, max(len(parts[0]), width - _LEAST_BAR - 1), ", ")
        bar = min(_BAR, width - len(words) - 1)
        if bar < _LEAST_BAR:
            return Text(words, no_wrap=True)
        line = Table.grid(padding=(0, 1))
        seen = last.rows_seen if last else 0
        rows = self._rows if seen <= self._rows else self._most
        line.add_row(ProgressBar(total=max(1, rows), completed=seen, width=bar), Text(words))
        return line
