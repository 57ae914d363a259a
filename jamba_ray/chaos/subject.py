"""Runs the sweep that gets the faults: ``python -m jamba_ray.chaos.subject <folder>``.

Everything is real (Ray, runners, checkpoints, the study) but the training, which sleeps and returns
a known curve, so that a sweep takes seconds and its history can be checked step by step.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial, wraps
from pathlib import Path
from typing import Any

import numpy as np
import ray

import jamba_ray.models  # noqa: F401  (registers the families)
from jamba_ray.chaos.history import History
from jamba_ray.chaos.s3_server import BUCKET
from jamba_ray.checkpoints import Snapshot, step_of
from jamba_ray.config.run import SweepConfig
from jamba_ray.config.store_uri import StoreUri
from jamba_ray.config.sweep_space import parse_space
from jamba_ray.data import prepare
from jamba_ray.data.prepared import PreparedData
from jamba_ray.driver import bucket_store
from jamba_ray.driver.sweep import run_sweep
from jamba_ray.errors import JambaError
from jamba_ray.runs.file_writes import RunLog
from jamba_ray.runs.probe import probe
from jamba_ray.runs.run_folder import RunFolder
from jamba_ray.study.records import SweepProgress
from jamba_ray.training import Decision, Member, Outcome, Report

N_STEPS = 8
STEP_S = 0.4
HANG_TIMEOUT_S = 4.0


def fit(
    members: Sequence[Member],
    data: PreparedData,
    report: Callable[[Sequence[Report]], Sequence[Decision]],
    *,
    device: str = "cpu",
    save: Callable[[int, Snapshot], None] | None = None,
    resume: Mapping[int, Snapshot] | None = None,
    history: str,
    hangs: bool = False,
    **others: object,
) -> list[Outcome]:
    """Reports a rising curve per trial and notes each step in the history once it was acknowledged.

    ``others`` takes arguments that only stacks need.
    """
    told = History(Path(history))
    outcomes = []
    for member in members:
        trial, rate = member.trial, member.config.training.learning_rate
        begun = (resume or {}).get(trial)
        step = step_of(begun)
        told.note("begin", trial, rate=rate, step=step)
        decision: Decision = "continue"
        while step < N_STEPS and decision == "continue":
            step += 1
            time.sleep(STEP_S)
            if hangs and trial % 4 == 1 and step == 2:
                time.sleep(3600)
            value = value_at(rate, step)
            metrics = {"val/average_precision": value}
            one = Report(trial, step, 10 * step, step / N_STEPS, STEP_S * step, metrics, 0.0)
            (decision,) = report([one])
            told.note("step", trial, step=step, value=value)
            if save is not None and decision == "continue":
                state = {"state": {"step": step}}
                save(trial, Snapshot(tensors={"model/w": np.ones(64)}, documents=state))
        value = value_at(rate, step)
        state_word = {"prune": "pruned", "stop": "stopped"}.get(decision, "complete")
        outcomes.append(
            Outcome(
                trial=trial,
                state=state_word,  # type: ignore[arg-type]
                reason=None,
                value=value,
                metrics={"val/average_precision": value},
                best_step=step,
                rows_seen=10 * step,
                epochs=step / N_STEPS,
                seconds=STEP_S * step,
                goodput_s=0.0,
                checkpoint=Snapshot(
                    tensors={"model/w": np.ones(64)}, documents={"state": {"step": step}}
                ),
            )
        )
    return outcomes


def value_at(rate: float, step: int) -> float:
    """Returns what a trial of this learning rate reports at a step."""
    return float((0.9 - 0.1 * abs(math.log10(rate) + 2)) * (1 - 0.5**step))


def sweep_config(n_trials: int, seed: int) -> SweepConfig:
    """Returns a sweep over the learning rate with two runners and a watchdog of seconds."""
    rate = {"type": "float", "low": 1e-4, "high": 1e-1, "log": True}
    return SweepConfig.model_validate(
        {
            "model": {"name": "mlp"},
            "data": {"name": "synthetic", "n_samples": 400, "n_features": 6},
            "search_space": {"training": {"learning_rate": rate}},
            "n_trials": n_trials,
            "seed": seed,
            "max_concurrent": 2,
            "hang_timeout_s": HANG_TIMEOUT_S,
            "store_patience_s": 5.0,
            "resume": True,
        }
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Runs or resumes the sweep in a folder; returns the exit code of ``jamba_ray.sweep``."""
    options = argparse.ArgumentParser()
    options.add_argument("folder", type=Path)
    options.add_argument("--trials", type=int, default=8)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--hangs", action="store_true")
    options.add_argument("--bucket", help="address of an S3 server whose bucket is the store")
    given = options.parse_args(argv)
    history = History(given.folder.parent / "history.jsonl")
    config = sweep_config(given.trials, given.seed)
    up = False
    _note_when_ray_is_up(history)

    def watch(progress: SweepProgress) -> None:
        nonlocal up
        if not up:
            up = True
            history.note("up", pid=os.getpid())
        for record in progress.finished:
            history.note("finished", record.number, state=record.state, value=record.value)

    try:
        folder = RunFolder(given.folder)
        if given.bucket:
            uri = StoreUri("s3", BUCKET).child(given.folder.name)
            folder = RunFolder(given.folder, uri, given.bucket)
        probe(folder)
        if said := bucket_store.create(folder, config):
            print(f"note: {said}", flush=True)
        with bucket_store.stored(folder, RunLog(folder.log)):
            result = run_sweep(
                config,
                parse_space(config),
                prepare(config.data),
                folder,
                watch,
                fit=partial(fit, history=str(history.path.absolute()), hangs=given.hangs),
            )
    except JambaError as error:
        print(f"error: {error}", flush=True)
        return int(error.exit_code)
    for note in result.notes:
        print(f"note: {note}", flush=True)
    print(f"ended: {result.ended}; {dict(result.counts)}; {dict(result.failures)}", flush=True)
    return {"ok": 0, "some_failed": 3, "none_succeeded": 4}[result.status]


def _note_when_ray_is_up(history: History) -> None:
    """Notes when Ray is up, because recovery is measured from then on, without Ray's own start."""
    init: Callable[..., Any] = ray.init

    @wraps(init)
    def noting(*args: Any, **options: Any) -> Any:
        context = init(*args, **options)
        history.note("ray up")
        return context

    ray.init = noting


if __name__ == "__main__":
    sys.exit(main())
