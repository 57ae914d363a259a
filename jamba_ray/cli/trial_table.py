"""Lays trials out as a table that fits a terminal: columns are left out, digits never.

``DROPPED`` is what a narrow terminal leaves out first: parameters from the last to the first, then
the time, then the epoch. Trial, state and objective always stay.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rich.table import Table
from rich.text import Text

from jamba_ray.config.space import Params
from jamba_ray.reports.words import duration, names_of, short
from jamba_ray.study.records import RunningTrial, TrialRecord

DROPPED = ("parameters", "time", "epoch")
_GAP = 2
_LEAST = 7
"""The least number of characters in a line into which a parameter's name is broken."""
_STYLES = {"complete": "green", "pruned": "yellow", "failed": "red", "running": "cyan"}


@dataclass(frozen=True)
class Row:
    """Holds the texts of one trial."""

    number: str
    state: str
    value: str
    epoch: str
    time: str
    params: Mapping[str, str] = field(default_factory=dict)
    is_best: bool = False


@dataclass(frozen=True)
class _Column:
    header: str
    cells: Sequence[str]
    justify: str = "right"

    @property
    def width(self) -> int:
        return max(map(len, [*self.header.split("\n"), *self.cells]))


def row_of(trial: TrialRecord, *, is_best: bool = False) -> Row:
    """Returns the row of a trial that has ended."""
    return Row(
        _name(trial),
        trial.state,
        value_in_words(trial.value),
        f"{trial.epochs:.2g}",
        duration(trial.seconds),
        _params(trial.params),
        is_best,
    )


def row_of_running(trial: RunningTrial, budget_rows: int) -> Row:
    """Returns the row of a trial that runs, with the share of its rows that it has seen."""
    share = min(1.0, trial.rows_seen / max(1, budget_rows))
    return Row(
        _name(trial),
        f"running {share:.0%}",
        value_in_words(trial.value),
        f"{trial.epoch:.2g}",
        duration(trial.seconds),
        _params(trial.params),
    )


def _name(trial: TrialRecord | RunningTrial) -> str:
    """Returns a trial's number, and where it comes from if no sampler proposed it."""
    words = {"defaults": "defaults ", "enqueue": "enqueued "}
    return f"{words.get(trial.origin or '', '')}{trial.number}"


def trial_table(
    rows: Sequence[Row], paths: Sequence[str], label: str, width: int
) -> tuple[Table, int]:
    """Returns the table, and the number of parameters that it leaves out.

    Args:
        rows: The trials.
        paths: Parameters in the order of the space; those that no row has are left out.
        label: Names the objective.
        width: Characters in a line.
    """
    used = [path for path in paths if any(path in row.params for row in rows)]
    names = names_of(paths)
    fixed = {
        "trial": _Column("trial", [row.number for row in rows]),
        "state": _Column("state", [row.state for row in rows], "left"),
        "value": _Column(_broken(label, _LEAST), [row.value for row in rows]),
        "epoch": _Column("epoch", [row.epoch for row in rows]),
        "time": _Column("time", [row.time for row in rows]),
    }
    params = []
    for path in used:
        cells = [row.params.get(path, "") for row in rows]
        longest = max(map(len, cells), default=0)
        params.append(_Column(_broken(names[path], max(_LEAST, longest)), cells))
    shown, left = _fitting(fixed, params, width)
    table = Table(box=None, padding=(0, _GAP, 0, 0), show_edge=False, pad_edge=False)
    for column in shown:
        table.add_column(
            Text(column.header),
            justify=column.justify,  # type: ignore[arg-type]
            no_wrap=True,
            overflow="crop",
            min_width=column.width,
        )
    for i, row in enumerate(rows):
        style = "bold green" if row.is_best else ""
        texts = [Text(column.cells[i]) for column in shown]
        if not row.is_best:
            texts[1].stylize(_STYLES.get(row.state.partition(" ")[0], ""))
        table.add_row(*texts, style=style)
    return table, left


def value_in_words(value: float | None) -> str:
    """Returns an objective's value, or a dash."""
    return "-" if value is None else f"{value:.5f}"


def _fitting(
    fixed: Mapping[str, _Column], params: Sequence[_Column], width: int
) -> tuple[list[_Column], int]:
    """Returns the columns that fit, and how many parameters do not."""
    kept, n = dict(fixed), len(params)

    def needs() -> int:
        columns = [*kept.values(), *params[:n]]
        return sum(column.width + _GAP for column in columns) - _GAP

    while needs() > width and n:
        n -= 1
    for name in DROPPED[1:]:
        if needs() > width:
            del kept[name]
    return [*kept.values(), *params[:n]], len(params) - n


def _broken(name: str, width: int) -> str:
    """Splits a name into lines of at most ``width`` characters, between its words."""
    lines = [""]
    for part in re.findall(r"[^._ ]+[._ ]*|[._ ]+", name):
        if lines[-1] and len(lines[-1] + part.rstrip()) > width:
            lines.append("")
        lines[-1] += part
    return "\n".join(line.rstrip() for line in lines)


def _params(params: Params) -> dict[str, str]:
    return {path: short(value) for path, value in params.items()}
