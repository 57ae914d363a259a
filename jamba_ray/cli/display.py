"""Shows a sweep while it runs: one live table on a terminal, else a line a trial."""

from __future__ import annotations

import time
from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from jamba_ray.cli.phases import Phases
from jamba_ray.cli.summary import cause
from jamba_ray.cli.time_left import TimeLeft
from jamba_ray.cli.trial_table import Row, row_of, row_of_running, trial_table, value_in_words
from jamba_ray.config.direction import badness, direction_of
from jamba_ray.config.family import trains_alone
from jamba_ray.config.run import SweepConfig
from jamba_ray.config.space import Params, SearchSpace
from jamba_ray.driver.capacity import MACHINES
from jamba_ray.reports.words import LABELS, duration, fitting, params_in_words, trial_in_words
from jamba_ray.runs.file_writes import RunLog
from jamba_ray.study.records import SweepProgress, TrialRecord

_STORE_IS_BACK = "the store takes what it is given again"
_RUNNING = 16
_RECENT = 6
_FINAL = 16
"""The most trials in the table that stays on the terminal; of more the best are shown."""
_BAR = 30
_OVERDUE_S = 1.5
"""Progress comes twice a second; if none has come for this long, the age is shown."""


class Display:
    """Shows each ``SweepProgress`` that it is called with, as a phase of ``phases``."""

    def __init__(
        self,
        console: Console,
        phases: Phases,
        config: SweepConfig,
        space: SearchSpace,
        budget_rows: int,
        log: RunLog,
        time_left: TimeLeft,
    ) -> None:
        self._console, self._phases, self._log = console, phases, log
        self._time_left = time_left
        self._paths = [parameter.path for parameter in space.parameters]
        self._objective, self._label = config.objective, LABELS[config.objective]
        self._budget_rows = budget_rows
        self._finished: list[TrialRecord] = []
        self._causes: set[str] = set()
        self._trouble: str | None = None
        self._progress: SweepProgress | None = None
        self._came = 0.0
        self._is_training = False

    def __call__(self, progress: SweepProgress) -> None:
        """Shows the present state of the sweep."""
        self._progress, self._came = progress, time.monotonic()
        self._time_left.look(progress)
        self._say_trouble(progress.trouble)
        # Only once, because without a terminal it is a line of its own.
        if not self._is_training and (progress.running or progress.n_finished or progress.trouble):
            self._is_training = True
            words = f"training {progress.n_trials} trials"
            self._phases.begin(fitting([words, self.about()], 1000, ", "), self._render)
        # A resumed sweep continues the count of the trials that finished before it was stopped.
        before = progress.n_finished - len(progress.finished)
        for done, trial in enumerate(progress.finished, before + 1):
            self._finished.append(trial)
            line = trial_line(trial, self._label)
            self._log.write(line)
            if not self._phases.is_animated:
                about = f" ({left})" if (left := self.about()) and done < progress.n_trials else ""
                self._print(f"{done}/{progress.n_trials} {line}{about}")
            elif trial.reason and cause(trial.reason) not in self._causes:
                # Once for each cause; the number of failed trials is shown elsewhere.
                self._causes.add(cause(trial.reason))
                self._print(line)

    def about(self) -> str:
        """Says how long the sweep will still take, as far as that is known."""
        left = self._time_left.seconds()
        return "" if left is None else f"about {duration(left)} left"

    def keep(self, trials: Sequence[TrialRecord], best: TrialRecord | None) -> None:
        """Prints the table of all trials, or of the best ones, on a terminal: it stays."""
        self._phases.end()
        if not self._phases.is_animated or not trials:
            return
        ranked = sorted(trials, key=self._rank)[:_FINAL]
        number = None if best is None else best.number
        rows = [row_of(trial, is_best=trial.number == number) for trial in ranked]
        table, left = trial_table(rows, self._paths, self._label, self._console.width)
        which = "all" if len(ranked) == len(trials) else f"the best {len(ranked)} of"
        self._print(f"\n{which} {len(trials)} trials, the best first{_left_out(left)}")
        self._console.print(table)

    def keep_what_ended(self) -> None:
        """Keeps the table of a sweep that something stopped."""
        self.keep(self._finished, None if self._progress is None else self._progress.best)

    def _rank(self, trial: TrialRecord) -> tuple[bool, float, float, int]:
        """Returns the key that sorts complete trials by value, then the others by how far they
        came."""
        bad = 0.0 if trial.value is None else badness(trial.value, direction_of(self._objective))
        if trial.state == "complete":
            return (False, bad, 0.0, trial.number)
        return (True, -trial.rows_seen, bad, trial.number)

    def _say_trouble(self, trouble: str | None) -> None:
        """Says what the sweep waits for.

        In the live table the seconds of the wait are counted; elsewhere a line is printed when the
        wait begins and another when it ends.
        """
        before, self._trouble = self._trouble, trouble
        if (before is None) == (trouble is None):
            return
        over = "a machine is there" if str(before).startswith(MACHINES) else _STORE_IS_BACK
        line = trouble or over
        self._log.write(line)
        if not self._phases.is_animated:
            self._print(line)

    def _print(self, line: str) -> None:
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)

    def _render(self) -> RenderableType:
        progress = self._progress
        assert progress is not None
        width = self._console.width
        age = time.monotonic() - self._came
        elapsed = progress.elapsed_s + age
        head = [*self._headline(progress, elapsed, width)]
        if progress.trouble:
            head.append(Text(progress.trouble, style="yellow"))
        elif age > _OVERDUE_S:
            head.append(Text(f"the study has not answered for {duration(age)}", style="yellow"))
        room = self._console.height - len(head) - 5
        rows, hidden = self._rows(progress, max(2, room))
        table, left = trial_table(rows, self._paths, self._label, width)
        notes = [f"{hidden} more run"] if hidden else []
        notes += [words] if (words := _left_out(left).removeprefix(", ")) else []
        foot = [Text(", ".join(notes), style="dim", no_wrap=True)] if notes else []
        return Group(*head, *([table] if rows else []), *foot)

    def _rows(self, progress: SweepProgress, room: int) -> tuple[list[Row], int]:
        """Returns the best, the last that ended and those that run, and how many of these are not
        shown."""
        best = [] if progress.best is None else [row_of(progress.best, is_best=True)]
        number = None if progress.best is None else progress.best.number
        n_running = min(len(progress.running), _RUNNING, max(1, room - len(best) - 1))
        n_recent = max(0, min(_RECENT, room - len(best) - n_running))
        ended = [trial for trial in self._finished if trial.number != number]
        recent = [row_of(trial) for trial in ended[len(ended) - n_recent :]] if n_recent else []
        shown = [row_of_running(t, self._budget_rows) for t in progress.running[:n_running]]
        return [*best, *recent, *shown], len(progress.running) - n_running

    def _headline(
        self, progress: SweepProgress, elapsed: float, width: int
    ) -> Sequence[RenderableType]:
        words = f"{progress.n_finished}/{progress.n_trials} trials, {duration(elapsed)}"
        if about := self.about():
            words += f", {about}"
        parts = [runners_in_words(progress), f"overhead {1.0 - progress.goodput:.0%}"]
        if progress.ended and progress.n_finished + len(progress.running) < progress.n_trials:
            parts.insert(0, f"ending: {progress.ended}")
        if failed := progress.counts.get("failed", 0):
            parts.append(f"{failed} failed")
        if (best := progress.best) is not None:
            name = trial_in_words(best.number, best.origin)
            parts.append(f"best: trial {name}, {self._label} {value_in_words(best.value)}")
        bar = min(_BAR, width - len(words) - 1)
        line = Table.grid(padding=(0, 1))
        total, done = max(1, progress.n_trials), progress.n_finished
        line.add_row(
            *([ProgressBar(total=total, completed=done, width=bar)] if bar > 4 else []),
            Text(words),
        )
        return [line, Text(fitting(parts, width, "; "), style="dim")]


def trial_line(trial: TrialRecord, label: str) -> str:
    """Says in one line how a finished trial did."""
    value = f" {label} {value_in_words(trial.value)}" if trial.value is not None else ""
    why = f": {trial.reason}" if trial.state == "failed" and trial.reason else ""
    name = trial_in_words(trial.number, trial.origin)
    return (
        f"trial {name} {trial.state}{value} epoch {trial.epochs:.2g} "
        f"in {duration(trial.seconds)} {_words(trial.params)}{why}"
    )


def runners_in_words(progress: SweepProgress) -> str:
    """Says how many runners there are, and how many trials they train at a time if several."""
    words = f"{progress.runners} runner{'s' if progress.runners != 1 else ''}"
    at_a_time = len(progress.running)
    if at_a_time <= progress.runners:
        return words
    names = {str(run.params.get("model.name")) for run in progress.running}
    trees = sorted(name for name in names if trains_alone(name))
    alone = f", {', '.join(trees)} alone" if trees else ""
    return f"{words} with {at_a_time} trials{alone}"


def _left_out(n_params: int) -> str:
    if not n_params:
        return ""
    return f", {n_params} more parameter{'s' if n_params > 1 else ''} in trials.parquet"


def _words(params: Params) -> str:
    return params_in_words(params, " ")
