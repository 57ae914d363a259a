"""Reads a run folder as runs to be tracked: its trials, its baseline, and the sweep itself."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jamba_ray.config.direction import badness, better
from jamba_ray.config.params import put
from jamba_ray.errors import StorageError
from jamba_ray.reports.run import FINAL, Run
from jamba_ray.runs.row_log import row_file, rows_of
from jamba_ray.runs.run_folder import RunFolder
from jamba_ray.study.reading import StudyReading
from jamba_ray.study.records import TrialRecord
from jamba_ray.tracking.tracked_run import Artifact, Row, TrackedRun, run_id

_DONE = {"complete", "pruned", "failed"}
_BOARD = 200
"""Rows of the leaderboard."""


def tracked_runs(path: Path, birth: str, structure: Sequence[str] = ()) -> list[TrackedRun]:
    """Returns the runs of a run folder in their present state, trials first, the sweep last.

    Args:
        path: The run folder.
        birth: Identifies a run that has no study.
        structure: The structural parameters; each trial is tagged with its values of them.

    Raises:
        StorageError: The study cannot be read (yet).
    """
    run = Run(path)
    folder, config = run.folder, run.config
    summary, study = run.summary, run.study
    if study is None and "search_space" in config:
        raise StorageError(f"the study must exist, but {str(folder.study)!r} does not yet.")
    if study is not None and study.sessions:
        # The time of the first session identifies the study: the id is the same on every machine.
        birth = f"{folder.path.resolve().name}/{min(study.sessions.values())!r}"
    runs = [_trial(run, trial, birth, structure) for trial in run.records]
    if baseline := summary.get("baseline"):
        of = run_id(birth, "sweep") if study is not None else None
        runs.append(_baseline(folder, config, baseline, birth, of))
    if study is not None:
        runs.append(_sweep(folder, config, summary, study, birth))
    return runs


def _trial(run: Run, trial: TrialRecord, birth: str, structure: Sequence[str]) -> TrackedRun:
    folder, config, study = run.folder, run.config, run.study
    own = _own_config(config, trial)
    tags = [trial.state, str(own.get("model", {}).get("name"))]
    if values := [
        f"{p.rpartition('.')[2]}={trial.params[p]}" for p in structure if p in trial.params
    ]:
        tags.append(" ".join(values)[:64])
    rows = [_row(row) for row in rows_of(row_file(folder.path, trial.number))]
    if not rows:
        key = f"val/{config.get('objective')}"
        rows = [Row(step, _plain({key: value})) for step, value in trial.curve]
    name = folder.path.resolve().name
    return TrackedRun(
        id=run_id(birth, "trial", trial.number),
        name=f"{name}/{trial.number}" if study is not None else name,
        group=name,
        job_type="trial" if study is not None else "train",
        sweep=run_id(birth, "sweep") if study is not None else None,
        config=own,
        rows=rows,
        tags=tuple(tags),
        summary={**_trial_summary(trial), **_alone_on_test(run)},
        ended=trial.state in _DONE,
        failed=trial.state == "failed",
        **_alone(run),
    )


def _alone(run: Run) -> dict[str, Any]:
    """Returns the report and the model of a run without a study, once it has been judged."""
    folder = run.folder
    if run.study is not None or run.summary.get("status") not in FINAL or not _reported(folder):
        return {}
    best = Artifact(f"{run.name}-best", "model", ("best",), folder=folder.best)
    return {"page": folder.report, "artifacts": (best,) if folder.best.exists() else ()}


def _alone_on_test(run: Run) -> dict[str, Any]:
    """Returns what a trial without a study (``train``) scored on the test rows."""
    best = (run.summary.get("best") or {}) if run.study is None else {}
    return {f"best/test/{k}": v["value"] for k, v in (best.get("test") or {}).items()}


def _trial_summary(trial: TrialRecord) -> dict[str, Any]:
    values: dict[str, Any] = {
        "trial": trial.number,
        "state": trial.state,
        "best_step": trial.best_step,
        "epochs": trial.epochs,
        "rows_seen": trial.rows_seen,
        "seconds": trial.seconds,
        "goodput_s": trial.goodput_s,
        **{f"best/{k}": v for k, v in trial.metrics.items()},
    }
    values |= {} if trial.value is None else {"objective": trial.value}
    values |= {} if trial.reason is None else {"reason": trial.reason}
    return values


def _baseline(
    folder: RunFolder,
    config: Mapping[str, Any],
    baseline: Mapping[str, Any],
    birth: str,
    sweep: str | None,
) -> TrackedRun:
    name = folder.path.resolve().name
    return TrackedRun(
        id=run_id(birth, "rival"),  # the id of 0.1: a run sent then is not sent again
        name=f"{name}/baseline",
        group=name,
        job_type="baseline",
        sweep=sweep,
        config={"model": {"name": baseline.get("model")}, "data": config.get("data", {})},
        tags=("baseline", str(baseline.get("model"))),
        summary=_judged(baseline),
        ended=True,
    )


def _sweep(
    folder: RunFolder,
    config: Mapping[str, Any],
    summary: Mapping[str, Any],
    study: StudyReading,
    birth: str,
) -> TrackedRun:
    name = folder.path.resolve().name
    ended = summary.get("status") in FINAL and _reported(folder)
    best = summary.get("best") or {}
    values: dict[str, Any] = {
        **{f"trials/{k}": v for k, v in (summary.get("trials") or {}).items()},
        **{k: summary[k] for k in ("status", "goodput", "wall_s") if summary.get(k) is not None},
        **{f"importance/{k}": v for k, v in (summary.get("importance") or {}).items()},
        **({"best_trial": best["trial"], **_judged(best)} if best else {}),
    }
    artifacts: list[Artifact] = []
    if ended and best and folder.best.exists():
        aliases = ("best", f"trial-{best['trial']}")
        artifacts.append(Artifact(f"{name}-best", "model", aliases, folder=folder.best))
        others = {
            t.checkpoint: (folder.checkpoints.resolve() / t.checkpoint).as_uri()
            for t in study.trials
            if t.checkpoint and (folder.checkpoints / t.checkpoint).exists()
        }
        if others:
            artifacts.append(Artifact(f"{name}-checkpoints", "checkpoints", references=others))
    return TrackedRun(
        id=run_id(birth, "sweep"),
        name=name,
        group=name,
        job_type="sweep",
        config=dict(config),
        rows=_progress(study),
        tags=("sweep", str(config.get("sweep_name"))),
        summary=values,
        ended=ended,
        table=_leaderboard(study) if ended else (),
        page=folder.report if ended else None,
        artifacts=tuple(artifacts),
    )


def _reported(folder: RunFolder) -> bool:
    """Says whether the report belongs to this summary and not to an earlier one."""
    try:
        return folder.report.stat().st_mtime_ns >= folder.summary.stat().st_mtime_ns
    except OSError:
        return False


def _progress(study: StudyReading) -> list[Row]:
    """Returns a row per trial in the order in which the trials ended."""
    order = sorted(
        (t for t in study.trials if t.state in _DONE),
        key=lambda t: (study.ended[t.number], t.number),
    )
    best: float | None = None
    rows: list[Row] = []
    for i, trial in enumerate(order):
        value = trial.value if trial.state == "complete" else None
        if value is not None and (best is None or better(value, best, study.direction)):
            best = value
        values = {"trial": trial.number, "value": trial.value, "best": best}
        rows.append(Row(i, _plain(values)))
    return rows


def _leaderboard(study: StudyReading) -> list[list[Any]]:
    paths = list(study.distributions)
    ranked = sorted(
        study.trials,
        key=lambda t: (t.state != "complete", badness(t.value or 0.0, study.direction)),
    )
    return [
        ["trial", "state", "value", *paths, "epochs", "seconds"],
        *(
            [t.number, t.state, t.value, *(t.params.get(p) for p in paths), t.epochs, t.seconds]
            for t in ranked[:_BOARD]
        ),
    ]


def _row(row: Mapping[str, Any]) -> Row:
    values = {k: row.get(k) for k in ("epoch", "rows_seen", "seconds", "goodput_s")}
    values |= dict(row.get("metrics", {}))
    values |= {f"runner/{k}": v for k, v in row.get("system", {}).items()}
    values["_timestamp"] = row.get("time")
    return Row(int(row["step"]), _plain(values))


def _plain(values: Mapping[str, Any]) -> dict[str, float | int]:
    return {k: v for k, v in values.items() if isinstance(v, (int, float)) and math.isfinite(v)}


def _judged(judged: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the metrics ``val/...`` and ``test/...`` with their intervals."""
    found: dict[str, Any] = {"threshold": judged.get("threshold")}
    for part in ("val", "test"):
        for key, interval in (judged.get(part) or {}).items():
            found[f"{part}/{key}"] = interval["value"]
            found |= {
                f"{part}/{key}_{end}": interval[end] for end in ("low", "high") if end in interval
            }
    return {k: v for k, v in found.items() if v is not None}


def _own_config(config: Mapping[str, Any], trial: TrialRecord) -> dict[str, Any]:
    """Returns the configuration of one trial as ``with_params`` makes it, without the model
    families."""
    tree: dict[str, Any] = json.loads(json.dumps({k: config[k] for k in _shared(config)}))
    family = trial.params.get("model.name", tree.get("model", {}).get("name"))
    if family != tree.get("model", {}).get("name"):
        tree["model"] = {"name": family}
    tree["seed"] = (int(config.get("seed", 0)) + trial.number) % 2**31
    for path, value in trial.params.items():
        put(tree, path, value)
    return {**tree, "trial": trial.number}


def _shared(config: Mapping[str, Any]) -> Iterable[str]:
    return [k for k in ("model", "training", "precision", "objective", "data") if k in config]
