"""Says which columns a model relies on, or why it scored a row so: ``jamba-ray explain``."""

from __future__ import annotations

import sys

from jamba_ray.cli.commands import EXPLAIN as COMMAND

# Above the other imports, which take seconds: help and mistakes need none of them.
if __name__ == "__main__":
    sys.exit(COMMAND.main())

from contextlib import nullcontext
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.table import Table

import jamba_ray
from jamba_ray.cli.entry import say
from jamba_ray.cli.phases import Phases
from jamba_ray.config.command_line import command, given, override
from jamba_ray.config.plugin_modules import as_words
from jamba_ray.config.predict import ExplainConfig
from jamba_ray.data import Preprocessor
from jamba_ray.errors import ExitCode
from jamba_ray.inference.chosen_row import ChosenRow, chosen_row
from jamba_ray.inference.contributions import Contributions
from jamba_ray.inference.model_rows import STANDARD, STANDARD_INPUT, standard_input
from jamba_ray.inference.predictor import Predictor
from jamba_ray.inference.reasons import in_words, reasons_of
from jamba_ray.reports import bucket
from jamba_ray.reports.feature_table import feature_note, feature_table
from jamba_ray.runs.run_folder import SCRATCH, RunFolder
from jamba_ray.versions.loading import run_path

_SHOWN = 10
_PAIRS = 64
"""Sampled pairs of orders for the one row of a network."""


def run(config: ExplainConfig, console: Console) -> ExitCode:
    """Prints what the model relies on, or what moved the score of one row."""
    if config.data.path is None:
        _explain_model(config, console)
    else:
        _explain_row(config, config.data.path, console)
    return ExitCode.OK


def _explain_model(config: ExplainConfig, console: Console) -> None:
    with Phases(console) as phases:
        phases.begin("reading the run", is_brief=True)
        with bucket.opened(run_path(config.run, config.registry), SCRATCH) as run:
            if "feature_importance" not in run.summary:
                phases.begin("computing the importance of the columns")
            found = run.found_importance()
    if found is None:
        say(console, "The metric is not defined on these rows, so no importance can be computed.")
    else:
        head, *rows = feature_table(found, _SHOWN)
        table = _new_table(head)
        for cells in rows:
            table.add_row(*cells)
        console.print(table)
        say(console, feature_note(found))
    more = [*given(config, "registry"), *as_words(config.plugins)]
    row = command("explain", config.run, "new.csv", "row=1", *more)
    say(console, f"next, with your rows for new.csv: {row}")


def _explain_row(config: ExplainConfig, path: str, console: Console) -> None:
    with Phases(console) as phases:
        phases.begin("reading the model", is_brief=True)
        predictor = jamba_ray.load(config.run, registry=config.registry)
        cut, what = predictor.threshold_of(config.threshold)
        shown = STANDARD_INPUT if path == STANDARD else path
        phases.begin(f"reading {shown}", is_brief=True)
        with standard_input() if path == STANDARD else nullcontext(path) as file:
            row = chosen_row(predictor, file, config.data.columns, config.row)
        phases.begin("explaining", is_brief=True)
        found = predictor.contributions_of(*row.matrices, pairs=_PAIRS)
    tell = partial(say, console)
    is_alert = "an alert" if row.score >= cut else "no alert"
    highest = " (the highest score)" if config.row is None else ""
    tell(
        f"Row {row.number:,} of {shown}{highest} scores {row.score:.6g}: {is_alert} at "
        f"{cut:.6g}, {what}."
    )
    console.print(_row_table(predictor, row, found))
    total = float(found.values[0].sum())
    tell(
        f"In log-odds: {found.base:+.2f} for {found.base_is}, {total:+.2f} for this row's columns, "
        f"together {found.base + total:+.2f}. A push of 1 multiplies the odds by 2.7."
    )
    tell(_next(config))


def _row_table(predictor: Predictor, row: ChosenRow, found: Contributions) -> Table:
    reasons = reasons_of(row.frame, found, len(found.columns))[0]
    typical = typical_values(predictor.preprocessing)
    table = _new_table(["column", "value", "typical in training", "pushes the score"])
    for one in reasons[:_SHOWN]:
        table.add_row(
            in_words(one.column), in_words(one.value), typical[one.column], _push(one.log_odds)
        )
    if rest := reasons[_SHOWN:]:
        table.add_row(f"{len(rest)} more", "", "", _push(sum(one.log_odds for one in rest)))
    return table


def typical_values(preprocessing: Preprocessor) -> dict[str, str]:
    """Returns the median of each column of numbers and the commonest name of each other one."""
    found = {column.name: in_words(column.fill) for column in preprocessing.numeric}
    for column in preprocessing.categorical:
        name = "present" if column.tells_missing else in_words(column.categories[0])
        found.setdefault(column.name, name)
    return found


def _push(log_odds: float) -> str:
    return f"{'up' if log_odds > 0 else 'down'} by {abs(log_odds):.2f}"


def _new_table(head: list[str]) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 1))
    for i, name in enumerate(head):
        table.add_column(name, justify="left" if i == 0 else "right", overflow="fold")
    return table


def _next(config: ExplainConfig) -> str:
    if "://" in config.run or RunFolder(Path(config.run)).config.exists():
        return f"next: {command('report', override('run', config.run))}"
    words = [config.run, "new.csv", "-o", "scored.csv", "explain=3"]
    words += [*given(config, "registry"), *as_words(config.plugins)]
    return f"next, with your rows for new.csv: {command('predict', *words)}"
