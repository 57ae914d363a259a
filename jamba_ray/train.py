"""Trains one configuration in this process, without Ray: ``python -m jamba_ray.train``."""

from __future__ import annotations

import sys

from jamba_ray.cli.commands import TRAIN as COMMAND

# Above the other imports, which take seconds: help and mistakes need none of them.
if __name__ == "__main__":
    sys.exit(COMMAND.main())

import contextlib
import time
from collections.abc import Sequence
from functools import partial
from importlib import import_module
from types import ModuleType
from typing import Any

import torch
from rich.console import Console

from jamba_ray.checkpoints import Snapshot
from jamba_ray.cli import python_call, summary
from jamba_ray.cli.composition import to_yaml
from jamba_ray.cli.entry import say, show_error
from jamba_ray.cli.phases import Phases
from jamba_ray.cli.plan import print_data
from jamba_ray.cli.python_call import Table
from jamba_ray.cli.summary_text import print_summary
from jamba_ray.cli.training_curve import TrainingCurve
from jamba_ray.cluster.resources import count_gpus
from jamba_ray.config.command_line import command
from jamba_ray.config.family import trains_alone
from jamba_ray.config.params import flatten
from jamba_ray.config.plugin_modules import as_words
from jamba_ray.config.plugins import TROUBLES
from jamba_ray.config.run import TrainConfig
from jamba_ray.config.tracking import title_of
from jamba_ray.config.training_length import as_begun, settled
from jamba_ray.data import prepare
from jamba_ray.data.prepared import PreparedData
from jamba_ray.data.shift_check import checked
from jamba_ray.driver import bucket_store, verdict
from jamba_ray.driver.open_runner import open_runner
from jamba_ray.driver.ray_session import end_at_once
from jamba_ray.driver.signals import Signalled, Signals, interruptible
from jamba_ray.errors import ExitCode, JambaError, StorageError, UnavailableError
from jamba_ray.estimators.estimator import check_installed
from jamba_ray.reports.run import Run
from jamba_ray.reports.words import winner_notes
from jamba_ray.runners.runner import DetachedError
from jamba_ray.runs.file_writes import RunLog, write_bytes, write_json
from jamba_ray.runs.probe import probe
from jamba_ray.runs.replicator import copied
from jamba_ray.runs.run_folder import RunFolder, unused_name
from jamba_ray.study.records import TrialOutcome, TrialRecord, TrialSpec
from jamba_ray.study.trials_table import write_trials
from jamba_ray.tracking import follower_process
from jamba_ray.tracking.follower_process import Following
from jamba_ray.training import Member, Outcome, Reporter, fit
from jamba_ray.training.device_rows import streaming

_SAVE_WITHIN_S = 20.0
"""Seconds to stop: a signal is handled between two steps, and the state is then saved."""


def train(
    rows: Table | None = None,
    *,
    target: str | None = None,
    quiet: bool = False,
    **settings: Any,
) -> Run:
    """Trains one configuration as the command does, and returns its run.

    ``jamba_ray.train("flows.parquet", target="is_threat", model="mlp")``; see ``jamba_ray.search``
    for the arguments and for what is raised.
    """
    config = python_call.configured(TrainConfig, rows, target, settings)
    config = config.model_copy(update={"run": config.run or unused_name(config.store, "train")})
    code = run(config, python_call.console(quiet=quiet))
    return python_call.finished(code, bucket_store.folder_of(config).path)


class _CallableModule(ModuleType):
    """Lets ``jamba_ray.train(...)`` call this module, which is the package's attribute of this
    name once it is imported."""

    def __call__(self, *args: Any, **kwargs: Any) -> Run:
        """Calls ``train``."""
        return train(*args, **kwargs)

    def __reduce__(self) -> tuple[Any, ...]:
        return import_module, (self.__name__,)


sys.modules[__name__].__class__ = _CallableModule


def run(config: TrainConfig, console: Console) -> ExitCode:
    """Trains from a configuration to its summary.

    Raises:
        JambaError: Anything that the user can act on, with a sentence and an exit code.
    """
    with Phases(console) as phases:
        return _run(config, console, phases)


def _run(config: TrainConfig, console: Console, phases: Phases) -> ExitCode:
    check_installed([config.model.name, *config.held_against])
    config = config.model_copy(update={"run": config.run or unused_name(config.store, "train")})
    folder = bucket_store.folder_of(config)
    phases.begin(f"checking {folder.path}", is_brief=True)
    probe(folder)
    if config.dry_run:
        data = _read(config, console, phases)
        phases.end()
        console.print(to_yaml(config), highlight=False, markup=False, end="", soft_wrap=True)
        print_data(console, data)
        say(console, f"Results would go to {folder.path}. Nothing was started.")
        return ExitCode.OK
    follower_process.check_tracking(config.tracking)
    bucket_store.refuse_if_used(folder, config)
    data = _read(config, console, phases)
    config = _settled(config, folder, data)
    bucket_store.create(folder, config)
    write_bytes(folder.config, to_yaml(config).encode())
    log = RunLog(folder.log)
    alone_on_gpu = config.workers == 1 and torch.cuda.is_available()
    if alone_on_gpu and (sentence := streaming(data, "cuda")) is not None:
        log.write(sentence)
        say(console, sentence)
    begun = time.monotonic()
    runner_notes: list[str] = []
    curve = TrainingCurve(console, phases, config, len(data.train), log)
    with contextlib.ExitStack() as leaving:
        leaving.enter_context(bucket_store.stored(folder, log))
        follower = leaving.enter_context(Following(folder, config.tracking, (), config.plugins))

        def abandoned(error: JambaError) -> None:
            """Ends the run from another thread, because the main thread hangs."""
            curve.__exit__()
            log.write(error.message)
            show_error(Console(stderr=True), error)
            leaving.__exit__(type(error), error, None)

        with (
            interruptible(
                f"stopped training. Continue it with `resume=true run={config.run}`.",
                abandoned,
                first=end_at_once,
                grace_s=_SAVE_WITHIN_S,
            ) as signals,
            copied(folder, runner_notes.append),
            curve,
        ):
            outcome = _train(config, data, folder, curve, signals, runner_notes)
            if signals.name is not None and outcome.state == "failed":
                # Ray's compiled code turned the signal into an error of the trial.
                raise Signalled(signals.name)
        record = _record(outcome, curve.points)
        write_trials(folder, [record])
        phases.begin("judging the model")
        with interruptible(
            f"stopped the judging of the model. Continue it with `resume=true run={config.run}`.",
            abandoned,
        ):
            report = _summary(config, data, folder, record, begun, runner_notes)
        report["tracking"] = follower.shown_at()
        write_json(folder.summary, report)
        phases.begin("writing the report")
        notes = follower_process.report(folder, log)
        if titles := [title_of(tracker) for tracker in config.tracking.trackers]:
            phases.begin(f"waiting for {' and '.join(titles)}")
    notes += follower.verdict()
    phases.end()
    report["tracking"] = follower.shown_at()
    print_summary(console, {**report, "notes": [*report["notes"], *notes]})
    return ExitCode(report["exit_code"])


def _read(config: TrainConfig, console: Console, phases: Phases) -> PreparedData:
    """Returns the rows, looked through for shift and leaks before anything is trained on them."""
    phases.begin("reading the data")
    data = prepare(config.data, partial(say, console))
    phases.begin("comparing validation and test with training rows")
    return checked(data, config.data)


def _settled(config: TrainConfig, folder: RunFolder, data: PreparedData) -> TrainConfig:
    """Returns the configuration with its length in numbers: that with which a run began."""
    training = config.training
    if config.resume and folder.config.exists():
        training = as_begun(training, flatten(folder.read_config()))
    training = settled(training, len(data.train))
    return config.model_copy(update={"training": training})


def _train(
    config: TrainConfig,
    data: PreparedData,
    folder: RunFolder,
    curve: TrainingCurve,
    signals: Signals,
    notes: list[str],
) -> TrialOutcome:
    with open_runner(
        folder,
        data,
        workers=config.workers,
        gpus=count_gpus(),
        rows=config.tracking.name != "none",
        verbose=config.verbose,
        started=signals.install,
        alone=partial(_fit, signals),
        note=notes.append,
    ) as runner:
        spec = TrialSpec(0, {}, resumed=config.resume)
        try:
            (outcome,) = runner.train([spec], config.trial(), curve.report)
        except DetachedError as error:
            lost = isinstance(error.__cause__, StorageError)
            raise (StorageError if lost else UnavailableError)(str(error)) from error
        return outcome


def _fit(
    signals: Signals, members: Sequence[Member], data: PreparedData, report: Reporter, **how: Any
) -> list[Outcome]:
    """Calls ``fit``; at a signal it saves, also between two reports, and ends."""
    if trains_alone(members[0].config.model.name):
        return fit(members, data, report, **how)

    def save(trial: int, snapshot: Snapshot) -> None:
        how["save"](trial, snapshot)
        if signals.name is not None:
            raise Signalled(signals.name)

    with signals.deferred():
        urgent = {"save": save, "urgent": lambda: signals.name is not None}
        return fit(members, data, report, **{**how, **urgent})


def _record(outcome: TrialOutcome, points: Sequence[tuple[int, float]]) -> TrialRecord:
    return TrialRecord(
        number=0,
        state="failed" if outcome.state == "failed" else "complete",
        params={},
        value=outcome.value,
        metrics=outcome.metrics,
        best_step=outcome.best_step,
        rows_seen=outcome.rows_seen,
        epochs=outcome.epochs,
        seconds=outcome.seconds,
        goodput_s=outcome.goodput_s,
        reason=outcome.reason,
        checkpoint=outcome.checkpoint,
        curve=tuple(points),
    )


def _summary(
    config: TrainConfig,
    data: PreparedData,
    folder: RunFolder,
    record: TrialRecord,
    begun: float,
    runner_notes: Sequence[str],
) -> dict[str, Any]:
    failed = record.state == "failed"
    report: dict[str, Any] = {
        **summary.frame("train", config, data),
        "status": "none_succeeded" if failed else "ok",
        "exit_code": int(ExitCode.NONE_SUCCEEDED if failed else ExitCode.OK),
        "trials": summary.count_states({record.state: 1}),
        "failures": summary.failures([record]),
        "bayes": verdict.bayes(data),
        "curve": [list(point) for point in record.curve],
        "notes": [*data.notes, *runner_notes, *verdict.few_rows(verdict.labels_of(data))],
        "goodput": record.goodput_s / max(1e-9, record.seconds),
        "folder": str(folder.path),
        "report": str(folder.report),
        "next": [command("threshold", str(folder.path), "max_fpr=0.01", *as_words(config.plugins))],
    }
    if not failed:
        report |= verdict.of_winner(config, data, folder, record)
        report["notes"] += verdict.group_notes(report["drawn_groups"], config.data)
        report["notes"] += winner_notes(report)
        report["notes"] += [*verdict.left_interval(report["best"]), *TROUBLES.values()]
    report["wall_s"] = time.monotonic() - begun
    plain: dict[str, Any] = summary.finite(report)
    return plain
