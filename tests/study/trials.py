"""Stand-ins for ``training.fit`` that real runners run: quick, deterministic, some at fault."""

from __future__ import annotations

import math
import os
import signal
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from jamba_ray.checkpoints import Snapshot
from jamba_ray.config.run import SweepConfig
from jamba_ray.config.sweep_space import parse_space
from jamba_ray.data.prepared import FeatureSchema, PreparedData, Rows
from jamba_ray.driver.sweep import run_sweep
from jamba_ray.runners.runner import Runner
from jamba_ray.runs.run_folder import RunFolder
from jamba_ray.study.records import ReportLine, SweepResult, TrialRecord, TrialSpec
from jamba_ray.study.settings import base_config, study_settings
from jamba_ray.study.sweep_study import SweepStudy
from jamba_ray.training import Member, Outcome, Report

N_REPORTS = 9
SPACE: dict[str, Any] = {
    "training": {"learning_rate": {"type": "float", "low": 1e-4, "high": 1e-1, "log": True}}
}


def fit(members, data, report, *, device="cpu", save=None, resume=None, pause_s=0.0, fault=None):
    """One rising curve per member, best near a rate of 1e-2; resumes where it was saved."""
    outcomes = []
    for member in members:
        begun = (resume or {}).get(member.trial)
        step = 0 if begun is None else int(begun.documents["state"]["step"])
        state = "complete"
        while step < N_REPORTS and state == "complete":
            step += 1
            time.sleep(pause_s)
            if fault is not None:
                fault(member, step)
            value = value_at(member, step)
            (decision,) = report([_report(member, step, value)])
            state = {"prune": "pruned", "stop": "stopped"}.get(decision, "complete")
            if save is not None and decision == "continue":
                save(member.trial, _snapshot(step))
        outcomes.append(_outcome(member, state, step, value_at(member, step)))
    return outcomes


def value_at(member: Member, step: int) -> float:
    goal = 0.9 - 0.1 * abs(math.log10(member.config.training.learning_rate) + 2)
    return goal * (1 - 0.5**step)


def slow(*args, **kwargs):
    return fit(*args, pause_s=0.15, **kwargs)


def at_fault(*args, **kwargs):
    return fit(*args, fault=_fault, **kwargs)


def _fault(member: Member, step: int) -> None:
    """Trials 0 .. 7 each end in their own way; the others are sound."""
    if step != 2:
        return
    if member.trial == 0:
        raise ValueError("bad batch")
    if member.trial == 1:
        sys.exit(3)
    if member.trial == 2:
        raise MemoryError
    if member.trial == 4:
        os.kill(os.getpid(), signal.SIGKILL)
    if member.trial == 5:
        flag = Path(os.environ["JAMBA_RAY_TEST_FLAG"])
        if not flag.exists():
            flag.touch()
            os.kill(os.getpid(), signal.SIGKILL)


def _report(member: Member, step: int, value: float) -> Report:
    bad = member.trial == 3 and "JAMBA_RAY_TEST_FLAG" in os.environ
    value = math.nan if bad else value
    metrics = {"train/loss": 1.0, "val/average_precision": value}
    return Report(member.trial, step, 50 * step, step / 8, 0.1 * step, metrics, 0.08 * step)


def _snapshot(step: int) -> Snapshot:
    return Snapshot(tensors={"model/w": np.ones(3)}, documents={"state": {"step": step}})


def _outcome(member: Member, state: str, step: int, value: float) -> Outcome:
    return Outcome(
        trial=member.trial,
        state=state,
        reason=None,
        value=value,
        metrics={"val/roc_auc": value, "val/average_precision": value},
        best_step=step,
        rows_seen=50 * step,
        epochs=step / 8,
        seconds=0.1 * step,
        goodput_s=0.08 * step,
        checkpoint=_snapshot(step),
    )


def data() -> PreparedData:
    rng = np.random.default_rng(0)
    schema = FeatureSchema(("a", "b"), (), (), ((-1.0, 0.0, 1.0),) * 2)
    return PreparedData(schema, {}, _rows(rng, 800), _rows(rng, 200), "d" * 16)


def _rows(rng: np.random.Generator, n: int) -> Rows:
    y = (rng.random(n) > 0.5).astype(np.float32)
    x = (rng.normal(size=(n, 2)) + y[:, None]).astype(np.float32)
    return Rows(x, np.zeros((n, 0), np.int64), y)


def config(**changes: Any) -> SweepConfig:
    import jamba_ray.models  # noqa: F401  (registers the families)

    given = {
        "model": {"name": "mlp"},
        "data": {"name": "synthetic"},
        "search_space": SPACE,
        "n_trials": 8,
        **changes,
    }
    return SweepConfig.model_validate(given)


def sweep(folder: RunFolder, fit: Any, watch: Any = None, **changes: Any) -> SweepResult:
    chosen = config(**changes)
    return run_sweep(chosen, parse_space(chosen), data(), folder, watch, fit=fit)


def without_ray(folder: RunFolder, **changes: Any) -> list[TrialRecord]:
    """The same sweep, one trial after the other in this process."""
    chosen = config(**changes)
    rows, space = data(), parse_space(chosen)
    runner = Runner(folder, rows, fit=fit)
    study = SweepStudy(folder.study, study_settings(chosen, space, rows, runners=1))

    def report(reports: Sequence[Report]) -> list[Any]:
        return study.report(
            [ReportLine(r.trial, r.step, r.metrics["val/average_precision"]) for r in reports]
        )

    n = 0
    while (spec := study.ask(f"/{n}").spec) is not None:
        base = base_config(chosen, len(rows.train))
        (outcome,) = runner.train([TrialSpec(spec.number, spec.params)], base, report)
        study.finish(outcome)
        n += 1
    records = study.records()
    study.close()
    return records


def main(argv: Sequence[str]) -> None:
    """``python -m tests.study.trials <n_trials> <seconds a report> <run folder>``: a slow sweep
    to be interrupted."""
    from jamba_ray.errors import JambaError

    n_trials, pause_s = int(argv[0]), float(argv[1])
    folder = RunFolder(Path(argv[2])).create(resume=True)

    def watch(progress):
        print("finished", *sorted(r.number for r in progress.finished), flush=True)

    try:
        slowly = partial(fit, pause_s=pause_s)
        result = sweep(folder, slowly, watch, n_trials=n_trials, max_concurrent=1)
    except JambaError as error:
        print("error:", error, flush=True)
        sys.exit(error.exit_code)
    print("counts", dict(result.counts), flush=True)
    for note in result.notes:
        print("note:", note, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
