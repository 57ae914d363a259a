"""Prints the plan of a sweep (``dry_run=true``): its trials, its duration, the place of its
results."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from jamba_ray.cli.first_rates import PROBE_ROWS, corner, first_rates
from jamba_ray.cluster.resources import count_gpus, plan_for, this_machine
from jamba_ray.config.budget import limit_of
from jamba_ray.config.family import trains_alone
from jamba_ray.config.run import SweepConfig
from jamba_ray.config.space import CategoricalLeaf, SearchSpace, values
from jamba_ray.config.training_length import length_of, most_rows, usual_rows
from jamba_ray.data.prepared import PreparedData
from jamba_ray.reports.data_section import data_tables
from jamba_ray.reports.words import duration, short
from jamba_ray.runners.stack_probe import in_words, what_pays
from jamba_ray.runs.run_folder import RunFolder
from jamba_ray.study.first_trials import first_trials
from jamba_ray.study.forecast import Course, Forecast, forecast
from jamba_ray.study.records import Paying, SweepProgress
from jamba_ray.study.sampling import first_rung, rung_steps
from jamba_ray.study.settings import begin_with, report_rows, stack_size
from jamba_ray.study.stacks import at_a_time_now, chosen, repays_compiling
from jamba_ray.training.validation import judged_rows

_MAX_SHAPES = 10_000
_FORWARD_SHARE = 1 / 3
"""A forward pass costs a third of a training step (the backward pass costs two)."""
START_UP_S = 8.0
"""Seconds that Ray and the runners take to start (``tests/benchmarks/sweep_overhead.md``)."""


def print_plan(
    console: Console, config: SweepConfig, space: SearchSpace, data: PreparedData, folder: RunFolder
) -> None:
    """Prints the plan; starts no Ray and writes nothing.

    A few steps are timed for the forecast.
    """
    table = Table(box=None, padding=(0, 2, 0, 2), title="search space", title_justify="left")
    table.add_column("parameter", style="cyan")
    table.add_column("values")
    table.add_column("in a stack", style="dim")
    for parameter in space.parameters:
        when = " and ".join(f"{k} = {_either(v)}" for k, v in parameter.leaf.when.items())
        stackable = "may differ" if parameter.stackable else "same structure"
        table.add_row(
            escape(parameter.path),
            escape(_values(parameter.leaf) + (f"  when {when}" if when else "")),
            stackable,
        )
    console.print(table)
    runners = plan_for(config, this_machine(count_gpus()))
    n = n_trials(config, space)
    torch.set_num_threads(runners.threads)  # as a runner does
    stacks, faster = stacks_in_words(config, space, data, runners.runners)
    expected = first_forecast(config, space, data, runners.runners, faster)
    n_train = _n_train(data)
    every = report_rows(config.trial(), n_train)
    rows, length = most_rows(config.training, n_train), _length(config, n_train)
    lines = {
        "trials": f"{n} by {config.sampler.name}, {structures_in_words(space)}",
        "first": first_in_words(config, space),
        "budget": f"{length}, a report every {every:,} rows, {_rungs(config, every, rows)}",
        **({"folds": folds_in_plan(config, data)} if data.folds else {}),
        "runners": runners.sentence,
        "stacks": stacks,
        "forecast": f"{forecast_in_words(expected, config)}, timed on {PROBE_ROWS:,} rows here",
        "objective": f"val/{config.objective}",
        "results": str(folder.path) + (" (exists)" if folder.exists() else ""),
    }
    grid = Table(box=None, show_header=False, padding=(0, 2, 0, 2))
    for name, text in lines.items():
        grid.add_row(f"[bold]{name}[/]", escape(text))
    console.print(grid)
    print_data(console, data)
    console.print("Nothing was started. Drop `dry_run=true` to run it.", highlight=False)


def folds_in_plan(config: SweepConfig, data: PreparedData) -> str:
    """Returns the folds of each trial in words."""
    cv, held = config.cv, [len(one.val) for one in data.folds]
    times = f" x {cv.repeats}" if cv.repeats > 1 else ""
    least, most = min(held), max(held)
    each = f"{most:,}" if least == most else f"{least:,} to {most:,}"
    return (
        f"{cv.folds}{times} of {len(data.train):,} training rows, {each} held out in each; a trial "
        "that no rung stops in the first trains the others"
    )


def print_data(console: Console, data: PreparedData) -> None:
    """Prints what the data are, and every assumption made about them: in the dry runs."""
    for found in data_tables(data.overview):
        console.print(_shown(found))
    for note in data.notes:
        console.print(f"note: {note}", markup=False, highlight=False, soft_wrap=True)


def _shown(rows: Sequence[Sequence[str]]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 2))
    for i, name in enumerate(rows[0]):
        table.add_column(escape(name), style="cyan" if i == 0 else "", overflow="fold")
    for row in rows[1:]:
        table.add_row(*map(escape, row))
    return table


def n_trials(config: SweepConfig, space: SearchSpace) -> int:
    """Returns the number of trials: a finite space may have fewer than ``n_trials``."""
    combinations = space.n_combinations()
    return config.n_trials if combinations is None else min(config.n_trials, combinations)


def first_in_words(config: SweepConfig, space: SearchSpace) -> str:
    """Says what is tried before the sampler is asked."""
    first = first_trials(config, space)
    if first.note is not None:
        return first.note
    parts = ["trial 0 is the configuration as composed"] if first.defaults is not None else []
    parts += [f"the defaults of {len(first.families)} more families"] if first.families else []
    parts += [f"{len(first.enqueued)} enqueued"] if first.enqueued else []
    return f"{', then '.join(parts)}, trained to the end" if parts else "what the sampler proposes"


def structures_in_words(space: SearchSpace) -> str:
    """Says how many structures the trials may have."""
    structural = SearchSpace(
        parameters=tuple(p for p in space.parameters if not p.stackable), base=space.base
    )
    count = structural.n_combinations()
    if count is None or count > _MAX_SHAPES:
        return "of many structures"
    return f"of {count} structure{'s' if count != 1 else ''}"


def stacks_in_words(
    config: SweepConfig, space: SearchSpace, data: PreparedData, runners: int
) -> tuple[str, float]:
    """Returns how many trials a runner trains at a time, and the speed-up over one trial.

    It is measured here on one structure, as a runner measures each. The speed-up is in rows per
    second.
    """
    names = next((values(p.leaf) for p in space.parameters if p.path == "model.name"), None)
    trees = [str(n) for n in names or [config.model.name] if trains_alone(str(n))]
    alone = f"; {', '.join(trees)} trains alone" if trees else ""
    most, n = stack_size(config, space, runners), n_trials(config, space)
    if most == 1:
        return "none: a runner trains one trial at a time" + alone, 1.0
    if config.trials_per_runner != "auto":
        return f"{most} trials of one structure a runner, as asked for" + alone, 1.0
    found = what_pays(corner(config.trial(), space, 0), data, "cpu", most)
    if not found.rows_per_s:
        return f"at most {most} trials of one structure a runner, not measured here" + alone, 1.0
    pruned = config.pruner.name != "none"
    packed = chosen(found, space, config.n_trials, runners, pruned=pruned)
    size, what = packed.size, "none: more do not pay"
    if size > 1:
        compiled = ", compiled" if repays_compiling(found, packed) else ""
        what = f"up to {size} trials of one structure a runner{compiled}"
    return f"{what} ({in_words(found)})" + alone, _gain(found, size, config, n, runners)


def _gain(found: Paying, size: int, config: SweepConfig, n_trials: int, runners: int) -> float:
    """Returns how many times as fast as single trials stacks train that grow up to ``size``."""
    rates = {int(k): rate for k, rate in found.rows_per_s.items()}
    start = begin_with(config, "cpu")
    now = [at_a_time_now(size, begun, runners, start) for begun in range(n_trials)]
    # A size that was not measured counts as fast as the next smaller one that was.
    return n_trials / sum(rates[1] / rates[max(k for k in rates if k <= most)] for most in now)


def first_forecast(
    config: SweepConfig,
    space: SearchSpace,
    data: PreparedData,
    runners: int,
    faster: float = 1.0,
    stop: Callable[[], bool] = lambda: False,
) -> Forecast:
    """Forecasts the wall time of the whole sweep before anything has run.

    A few steps are timed in this process at a few corners of the space, because a trial of twice
    the width takes four times as long. ``faster`` is the speed-up of stacks.
    """
    stages, every = course(config, data, runners), report_rows(config.trial(), _n_train(data))
    n_judged = judged_rows(config.training.val_rows, every, data.val.y, config.objectives)
    judged = stages.rows / every * min(n_judged, len(data.val))
    judging = 1 + _FORWARD_SHARE * judged / max(1, stages.rows)
    of_one = usual_rows(config.training, _n_train(data))
    found = first_rates(config.trial(), space, data.searched, of_one, stop)
    rates = [judging * rate / faster for rate in found]
    n, whole = n_trials(config, space), len(first_trials(config, space))
    return forecast(rates, stages, n, whole=min(n, whole)).plus(START_UP_S)


def rows_of_running(progress: SweepProgress) -> tuple[list[int], int]:
    """Returns the rows that each running trial has seen, and how many of them, the first ones, are
    never stopped: the defaults and what was enqueued."""
    known = sorted(progress.running, key=lambda trial: (trial.origin is None, -trial.rows_seen))
    return [t.rows_seen for t in known], sum(t.origin is not None for t in known)


def course(config: SweepConfig, data: PreparedData, runners: int) -> Course:
    """Returns the stages of each trial: its rows and its rungs."""
    rows = usual_rows(config.training, _n_train(data))
    every = report_rows(config.trial(), _n_train(data))
    factor, models = config.pruner.reduction_factor, 1.0
    if data.folds:  # rungs are in the first
        models = sum(len(one.train) for one in data.folds) / _n_train(data)
    return Course(round(rows * models), rungs(config, every, rows), factor, runners)


def _n_train(data: PreparedData) -> int:
    """Returns the training rows of a trial's first model."""
    return len(data.searched.train)


def forecast_in_words(expected: Forecast, config: SweepConfig) -> str:
    """Formats ``P50 2 min 10 s, P90 2 min 31 s (0.10 to 0.12 USD); ends after 1 h 00 min``."""
    words = f"P50 {duration(expected.p50_s)}, P90 {duration(expected.p90_s)}"
    if rate := config.budget.usd_per_hour:
        low, high = (rate * s / 3600 for s in (expected.p50_s, expected.p90_s))
        words += f" ({low:.2f} to {high:.2f} USD)"
    limit = limit_of(config.budget)
    return words + (f"; ends after {duration(limit.seconds)}" if limit is not None else "")


def rungs(config: SweepConfig, every: int, rows: float) -> list[int]:
    """Returns the rows at which ASHA compares trials, without the last report of a trial."""
    steps = rung_steps(config.pruner, every, math.ceil(rows / every))
    return [step * every for step in steps if step * every < rows]


def _either(wanted: object) -> str:
    """Formats the value, or the values, of which a parameter's existence depends."""
    return " or ".join(map(short, wanted)) if isinstance(wanted, list | tuple) else short(wanted)


def _values(leaf: object) -> str:
    if isinstance(leaf, CategoricalLeaf):
        return ", ".join(short(choice) for choice in leaf.choices)
    low, high = short(leaf.low), short(leaf.high)  # type: ignore[attr-defined]
    return f"{low} .. {high}" + (" (log)" if leaf.log else "")  # type: ignore[attr-defined]


def _length(config: SweepConfig, n_train: int) -> str:
    length, rows = length_of(config.training, n_train), most_rows(config.training, n_train)
    words = f"{length.epochs:g} epochs = {rows:,} rows a trial"
    if not length.is_open:
        return words
    return f"at most {words}, fewer where {length.patience} reports bring no improvement"


def _rungs(config: SweepConfig, every: int, rows: int) -> str:
    pruner = config.pruner
    if pruner.name == "none":
        return "no early stopping"
    if pruner.name == "patient":
        return f"stopped after {pruner.patience} reports without a better one"
    if pruner.name == "median":
        from_rows = every * (first_rung(pruner, every) or 1)
        return f"from {from_rows:,} rows on stopped below the median of complete trials"
    at = ", ".join(f"{rung:,}" for rung in rungs(config, every, rows))
    later = ", later in other brackets" if pruner.name == "hyperband" else ""
    return f"rungs at {at} rows (one in {pruner.reduction_factor} passes){later}"
