"""Runs a sweep from a search space to a verified model: ``python -m jamba_ray.sweep``."""

from __future__ import annotations

import sys

from jamba_ray.cli.commands import SWEEP as COMMAND

# Above the other imports, which take seconds: help and mistakes need none of them.
if __name__ == "__main__":
    sys.exit(COMMAND.main())

import contextlib
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from rich.console import Console

from jamba_ray.cli import python_call, summary, sweep_summary
from jamba_ray.cli.budget_forecast import BudgetForecast
from jamba_ray.cli.composition import to_yaml
from jamba_ray.cli.display import Display
from jamba_ray.cli.early_forecast import EarlyForecast
from jamba_ray.cli.entry import say, show_error
from jamba_ray.cli.phases import Phases
from jamba_ray.cli.plan import print_plan
from jamba_ray.cli.python_call import Table
from jamba_ray.cli.summary_text import print_summary
from jamba_ray.cli.time_left import TimeLeft
from jamba_ray.cluster import down
from jamba_ray.cluster.prices import priced
from jamba_ray.cluster.surroundings import cluster_address, require_surroundings
from jamba_ray.config.budget import limit_of
from jamba_ray.config.plugin_needs import require_named
from jamba_ray.config.run import SweepConfig
from jamba_ray.config.space import SearchSpace
from jamba_ray.config.sweep_space import checked_space, families_of, without_families
from jamba_ray.config.tracking import title_of
from jamba_ray.config.training_length import settled_sweep, usual_rows
from jamba_ray.data import changed_files, prepare, source_files
from jamba_ray.data.prepared import PreparedData
from jamba_ray.data.shift_check import checked
from jamba_ray.driver import bucket_store
from jamba_ray.driver.callbacks import Callbacks
from jamba_ray.driver.metrics import SweepMetrics
from jamba_ray.driver.preload import preload
from jamba_ray.driver.signals import interruptible
from jamba_ray.driver.sweep import run_sweep
from jamba_ray.errors import (
    ConfigError,
    DataError,
    ExitCode,
    JambaError,
    RunExistsError,
    StorageError,
)
from jamba_ray.estimators.estimator import check_installed, left_out, not_installed
from jamba_ray.reports.run import Run
from jamba_ray.runs.file_writes import RunLog, write_bytes, write_json
from jamba_ray.runs.probe import probe
from jamba_ray.runs.run_folder import unused_name
from jamba_ray.study import identity, sampling, warm_start
from jamba_ray.study.first_trials import first_trials
from jamba_ray.study.lease import LeaseLostError
from jamba_ray.study.reading import begun_with, read_study
from jamba_ray.study.trials_table import write_trials
from jamba_ray.tracking import follower_process
from jamba_ray.tracking.follower_process import Following


def search(
    rows: Table | None = None,
    *,
    target: str | None = None,
    sweep: str | None = None,
    n_trials: int | None = None,
    quiet: bool = False,
    **settings: Any,
) -> Run:
    """Runs a sweep as the command does, and returns its run.

    ``jamba_ray.search(frame, target="is_threat", sweep="rivals", n_trials=20)``

    Args:
        rows: Labelled rows: a DataFrame (the run keeps a copy in its store, under ``.frames``), or
            a file, folder or glob; None: synthetic ones.
        target: Column of labels; None: ``is_threat``.
        sweep: Name of a sweep file: of ``./sweeps`` or of those that ship with jamba_ray.
        n_trials: Trials to run; None: what the sweep file says.
        quiet: Whether nothing is printed.
        settings: Every other setting by its name; those of a section as a mapping
            (``training={"epochs": 3}``).

    Raises:
        JambaError: As the command ends with its sentence: ConfigError, DataError, TrialError where
            no trial succeeded ...
    """
    trials = {} if n_trials is None else {"n_trials": n_trials}
    config = python_call.configured(SweepConfig, rows, target, {**trials, **settings}, sweep)
    name = config.run or unused_name(config.store, config.sweep_name)
    config = config.model_copy(update={"run": name})
    code = run(config, python_call.console(quiet=quiet))
    return python_call.finished(code, bucket_store.folder_of(config).path)


def run(config: SweepConfig, console: Console) -> ExitCode:
    """Runs a sweep from its configuration to its summary.

    Raises:
        JambaError: Anything that the user can act on, with a sentence and an exit code.
    """
    with Phases(console) as phases:
        return _run(config, console, phases)


def _run(config: SweepConfig, console: Console, phases: Phases) -> ExitCode:
    missing: list[str] = []
    if config.missing_families == "leave_out":
        missing = not_installed(families_of(config.model.name, checked_space(config)))
        config = without_families(config, missing)
    space = checked_space(config)
    first_trials(config, space)  # a wrong `enqueue` is refused before the data are read
    families = [*families_of(config.model.name, space), *config.held_against]
    check_installed(families)
    require_named(families, config.objective, config.training.loss)
    sampling.check_installed(config.sampler)
    name = config.run or unused_name(config.store, config.sweep_name)
    config = config.model_copy(update={"run": name})
    folder = bucket_store.folder_of(config)
    phases.begin(f"checking {folder.path}", is_brief=True)
    probe(folder)
    if not begun_with(folder.study):
        warm_start.read(config, space)  # refused before the data are read
    config = config.model_copy(update={"budget": priced(config.budget)})
    down.require(config.cluster.down_after, config.store, cluster_address())
    limit_of(config.budget)  # dollars without a price are refused before the data are read
    require_surroundings()
    phases.begin("reading the data")
    if config.dry_run:
        data = _read(config, missing, console, phases)
        config, space = _settled(config, space, data)
        print_plan(console, config, space, data, folder)
        return ExitCode.OK
    follower_process.check_tracking(config.tracking)
    bucket_store.refuse_if_used(folder, config)
    files = source_files(config.data)
    data = _read(config, missing, console, phases)
    if changed := changed_files(files):
        raise DataError(changed[0])
    fetched = bucket_store.create(folder, config)
    asked, config = config, identity.as_begun(config, begun_with(folder.study))
    if config.data != asked.data:  # of an earlier version, which divided the rows in another way
        data = _read(config, missing, console, phases)
    log = RunLog(folder.log)
    log.write(f"sweep {config.sweep_name}: {len(data.train)} training rows, {space.paths}")
    if fetched is not None:
        log.write(fetched)
        say(console, fetched)
    begun = time.monotonic()
    config, space = _settled(config, space, data)
    budget_rows = usual_rows(config.training, len(data.searched.train))
    frame = summary.frame("sweep", config, data) | {"folder": str(folder.path)}
    earlier = folder.read_summary()

    def accepted() -> None:
        """Writes the files of a running sweep, once the run is this driver's to write."""
        # For the verdict; they take a second, in which Ray's processes start.
        preload("pandas", "lightgbm")
        if not budget_forecast.made():
            early.start()
        write_bytes(folder.config, to_yaml(config).encode())
        write_json(folder.summary, {**frame, "status": "running", "exit_code": None})
        if config.cluster.down_after is not None:
            down.arm(config.cluster.down_after)

    def tell(sentence: str) -> None:
        log.write(sentence)
        say(console, sentence)

    if (note := first_trials(config, space).note) is not None:
        tell(note)
    budget_forecast = BudgetForecast(config, space, data, tell)
    structure = [p.path for p in space.parameters if not p.stackable]
    early = EarlyForecast(config, space, data)
    time_left = TimeLeft(config, space, data, lambda: budget_forecast.made() or early())
    display = Display(console, phases, config, space, budget_rows, log, time_left)
    callbacks = Callbacks()
    watch = callbacks.around(display)
    if cluster_address() is not None:
        rate = config.budget.usd_per_hour
        watch = SweepMetrics(name, config.objective, rate, time_left.seconds).around(watch)
    phases.note = display.about
    with contextlib.ExitStack() as leaving:
        leaving.enter_context(bucket_store.stored(folder, log))
        follower = leaving.enter_context(
            Following(folder, config.tracking, structure, config.plugins)
        )

        def ended_early(error: JambaError) -> None:
            log.write(error.message)
            wall_s = time.monotonic() - begun
            with contextlib.suppress(StorageError):
                write_json(folder.summary, sweep_summary.ended_early(frame, folder, error, wall_s))
                write_trials(folder, read_study(folder.study).trials)

        def abandoned(error: JambaError) -> None:
            """Ends the run from another thread, because the main thread hangs."""
            phases.end()
            ended_early(error)
            show_error(Console(stderr=True), error)
            leaving.__exit__(type(error), error, None)

        try:
            phases.begin("timing a few steps for the forecast", is_brief=True)
            budget_forecast.before()
            with early:
                result = run_sweep(
                    config,
                    space,
                    data,
                    folder,
                    budget_forecast.around(watch),
                    accepted=accepted,
                    changed=partial(changed_files, files),
                    abandoned=abandoned,
                    phase=phases.begin,
                )
            display.keep(result.trials, result.best)
            phases.note = lambda: ""
            phases.begin("judging the winner")
            with interruptible(
                f"stopped the sweep before its winner was judged. Judge it with `resume=true "
                f"run={name}`.",
                abandoned,
            ):
                report = sweep_summary.judged(
                    config, space, data, folder, result, begun, frame, earlier, phases
                )
        except (RunExistsError, ConfigError, LeaseLostError):
            # This driver may not write the run, or no longer.
            raise
        except JambaError as error:
            display.keep_what_ended()
            ended_early(error)
            raise
        report["budget"] = budget_forecast.summary() or report.get("budget")
        report["tracking"] = follower.shown_at()
        write_json(folder.summary, report)
        report["notes"] += callbacks.end(report)
        write_json(folder.summary, report)
        log.write(f"ended: {result.ended}; status {report['status']}")
        phases.begin("writing the report")
        notes = follower_process.report(folder, log)
        if titles := [title_of(tracker) for tracker in config.tracking.trackers]:
            phases.begin(f"waiting for {' and '.join(titles)}")
    notes += follower.verdict()
    phases.end()
    report["tracking"] = follower.shown_at()
    print_summary(console, {**report, "notes": [*report["notes"], *notes]})
    return summary.exit_code(result)


def _read(
    config: SweepConfig, missing: Sequence[str], console: Console, phases: Phases
) -> PreparedData:
    """Returns the rows, looked through for shift and leaks before anything is trained on them."""
    data = prepare(config.data, partial(say, console), config.cv)
    phases.begin("comparing validation and test with training rows")
    data = checked(data, config.data)
    return replace(data, notes=(*left_out(missing), *data.notes))


def _settled(
    config: SweepConfig, space: SearchSpace, data: PreparedData
) -> tuple[SweepConfig, SearchSpace]:
    """Returns the sweep with the length of its trials in numbers, and its space: conditions may
    name them."""
    searched = frozenset(p.path for p in space.parameters)
    training = settled_sweep(config.training, len(data.searched.train), searched)
    config = config.model_copy(update={"training": training})
    return config, checked_space(config)
