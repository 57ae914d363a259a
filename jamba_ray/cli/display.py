"""What a sweep shows while it runs: one live table on a terminal, else one line a trial."""

from __future__ import annotations

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from jamba_ray.config.family import TRAINERS
from jamba_ray.config.run import SweepConfig
from jamba_ray.config.space import Params
from jamba_ray.driver.capacity import MACHINES
from jamba_ray.reports.words import LABELS, duration, params_in_words
from jamba_ray.runs.file_writes import RunLog
from jamba_ray.study.records import SweepProgress, TrialRecord

_RECENT = 6
_STORE_IS_BACK = "the store takes what it is given again"
_RUNNING = 16
_STYLES = {"complete": "green", "pruned": "yellow", "failed": "red"}


class Display:
    """Call it with each ``SweepProgress``; use it as a context manager around the sweep."""

    def __init__(
        self, console: Console, config: SweepConfig, budget_rows: int, log: RunLog
    ) -> None:
        self._console, self._log = console, log
        self._label = LABELS[config.objective]
        self._budget_rows = budget_rows
        self._finished: list[TrialRecord] = []
        self._trouble: str | None = None
        self._live = (
            Live(console=console, refresh_per_second=4, transient=True)
            if console.is_terminal
            else None
        )

    def __enter__(self) -> Display:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the terminal back; the second call does nothing."""
        if self._live is not None:
            self._live.stop()

    def __call__(self, progress: SweepProgress) -> None:
        """Show how the sweep stands."""
        self._say_trouble(progress.trouble)
        # A resumed sweep counts on from what finished before it was stopped.
        before = progress.n_finished - len(progress.finished)
        for done, trial in enumerate(progress.finished, before + 1):
            self._finished.append(trial)
            line = trial_line(trial, self._label)
            self._log.write(line)
            if self._live is None:
                line = f"{done}/{progress.n_trials} {line}"
                self._console.print(line, highlight=False, markup=False, soft_wrap=True)
        if self._live is not None:
            self._live.update(self._table(progress))

    def _say_trouble(self, trouble: str | None) -> None:
        """What the sweep waits for: in the table it counts on, elsewhere it is a line when the wait
        begins and one when it is over."""
        before, self._trouble = self._trouble, trouble
        if (before is None) == (trouble is None):
            return
        over = "a machine is there" if str(before).startswith(MACHINES) else _STORE_IS_BACK
        line = trouble or over
        self._log.write(line)
        if self._live is None:
            self._console.print(line, highlight=False, markup=False, soft_wrap=True)

    def _table(self, progress: SweepProgress) -> RenderableType:
        rows = Table(box=None, padding=(0, 2, 0, 0), show_edge=False)
        rows.add_column("trial", justify="right")
        rows.add_column("state")
        rows.add_column(self._label, justify="right")
        rows.add_column("epoch", justify="right")
        rows.add_column("time", justify="right")
        rows.add_column("parameters", overflow="ellipsis", no_wrap=True)
        for trial in self._finished[-_RECENT:]:
            state = Text(trial.state, style=_STYLES.get(trial.state, ""))
            what = (
                trial.reason if trial.state == "failed" and trial.reason else _words(trial.params)
            )
            rows.add_row(
                str(trial.number),
                state,
                _value(trial.value),
                f"{trial.epochs:.2g}",
                duration(trial.seconds),
                escape(what),
            )
        for run in progress.running[:_RUNNING]:
            share = min(1.0, run.rows_seen / max(1, self._budget_rows))
            rows.add_row(
                str(run.number),
                Text(f"running {share:.0%}", style="cyan"),
                _value(run.value),
                f"{run.epoch:.2g}",
                duration(run.seconds),
                escape(_words(run.params)),
            )
        return Group(_headline(progress), _best(progress, self._label), rows)


def trial_line(trial: TrialRecord, label: str) -> str:
    """One finished trial in one line."""
    value = f" {label} {_value(trial.value)}" if trial.value is not None else ""
    why = f": {trial.reason}" if trial.state == "failed" and trial.reason else ""
    return (
        f"trial {trial.number} {trial.state}{value} epoch {trial.epochs:.2g} "
        f"in {duration(trial.seconds)} {_words(trial.params)}{why}"
    )


def eta_s(progress: SweepProgress) -> float | None:
    """Seconds until the last trial ends, going by those that have; None before the first has."""
    if not progress.n_finished:
        return None
    left = progress.n_trials - progress.n_finished
    return progress.elapsed_s / progress.n_finished * max(0, left)


def runners_in_words(progress: SweepProgress) -> str:
    """``2 runners``, and how many trials they train where they train several at a time."""
    words = f"{progress.runners} runner{'s' if progress.runners != 1 else ''}"
    at_a_time, shown = len(progress.running), min(len(progress.running), _RUNNING)
    if at_a_time <= progress.runners:
        return words
    names = {str(run.params.get("model.name")) for run in progress.running}
    trees = sorted(name for name in names if TRAINERS.get(name) == "boosting")
    alone = f", {', '.join(trees)} alone" if trees else ""
    more = f" ({shown} shown)" if shown < at_a_time else ""
    return f"{words} with {at_a_time} trials{more}{alone}"


def _headline(progress: SweepProgress) -> RenderableType:
    left = eta_s(progress)
    until = f", about {duration(left)} left" if left is not None else ""
    overhead = 1.0 - progress.goodput
    words = (
        f"{progress.n_finished}/{progress.n_trials} trials, {duration(progress.elapsed_s)}{until}, "
        f"{runners_in_words(progress)}, overhead {overhead:.0%}"
    )
    if progress.ended:
        words += f", ending: {progress.ended}"
    if progress.trouble:
        words += f"\n{progress.trouble}"
    bar = ProgressBar(total=max(1, progress.n_trials), completed=progress.n_finished, width=30)
    line = Table.grid(padding=(0, 1))
    line.add_row(bar, Text(words))
    return line


def _best(progress: SweepProgress, label: str) -> RenderableType:
    best = progress.best
    if best is None:
        return Text("no trial has finished yet", style="dim")
    words = f"best: trial {best.number}, {label} {_value(best.value)}, {_words(best.params)}"
    return Text(words, style="bold green", no_wrap=True, overflow="ellipsis")


def _value(value: float | None) -> str:
    return "-" if value is None else f"{value:.5f}"


def _words(params: Params) -> str:
    return params_in_words(params, " ")
