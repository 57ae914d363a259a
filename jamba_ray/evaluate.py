"""Judges a checkpoint on labelled rows and scores each row: ``python -m jamba_ray.evaluate``."""

from __future__ import annotations

import sys

from jamba_ray.cli.commands import EVALUATE as COMMAND

# Above the other imports, which take seconds: help and mistakes need none of them.
if __name__ == "__main__":
    sys.exit(COMMAND.main())

import io
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from rich.console import Console

import jamba_ray
from jamba_ray.cli import summary
from jamba_ray.cli.composition import to_yaml
from jamba_ray.cli.entry import say
from jamba_ray.cli.phases import Phases
from jamba_ray.cli.summary_text import print_summary
from jamba_ray.config.data import SyntheticSection, TableSection
from jamba_ray.config.predict import EvaluateConfig
from jamba_ray.data import Rows, prepare, prepare_for
from jamba_ray.data.prepare import attacker_for
from jamba_ray.driver.rivals import kept_rivals, strongest
from jamba_ray.driver.verdict import few_rows, group_notes, units_of
from jamba_ray.errors import ExitCode
from jamba_ray.evaluation import by_group, compare, intervals
from jamba_ray.evaluation.clusters import clusters_of
from jamba_ray.evaluation.delay import detection_delay
from jamba_ray.evaluation.promise import disproof
from jamba_ray.inference import Predictor, score_rows
from jamba_ray.inference.robustness import robustness
from jamba_ray.reports.words import delay_notes, robustness_notes
from jamba_ray.runs.file_writes import write_bytes, write_json
from jamba_ray.runs.probe import probe
from jamba_ray.runs.run_folder import RunFolder, unused_name
from jamba_ray.study.lease import check_free


def run(config: EvaluateConfig, console: Console) -> ExitCode:
    """Scores every row, writes ``scores.parquet`` and ``summary.json`` and prints the summary."""
    config = config.model_copy(update={"run": config.run or unused_name(config.store, "evaluate")})
    folder = RunFolder(Path(config.store) / str(config.run))
    folder.refuse_if_used(overwrite=config.overwrite)
    check_free(folder.study)
    with Phases(console) as phases:
        report = _judged(config, folder, console, phases)
    print_summary(console, report)
    return ExitCode.OK


def _judged(
    config: EvaluateConfig, folder: RunFolder, console: Console, phases: Phases
) -> dict[str, Any]:
    """Scores the rows, writes what comes of it and returns the summary."""
    phases.begin(f"checking {folder.path}", is_brief=True)
    probe(folder)
    begun = time.monotonic()
    phases.begin("reading the model", is_brief=True)
    predictor = jamba_ray.load(config.checkpoint, registry=config.registry)
    predictor.threshold, what = predictor.threshold_of(config.threshold)
    phases.begin("reading the data")
    rows, drawn = _rows(config, predictor, console)
    phases.begin(f"scoring {len(rows):,} rows")
    y, p, group = rows.y, score_rows(predictor, rows), rows.group
    folder.create(overwrite=config.overwrite)
    write_bytes(folder.config, to_yaml(config).encode())
    write_bytes(folder.path / "scores.parquet", _table(y, p, predictor.threshold, group))
    phases.begin("judging")
    report = _summary(config, folder, predictor, rows, p, drawn, what)
    report |= _attacked(config, predictor, rows, drawn, report)
    report |= summary.finite(_rivals(kept_rivals(config.checkpoint), predictor, rows, p, drawn))
    report["wall_s"] = time.monotonic() - begun
    write_json(folder.summary, report)
    return report


Labels = npt.NDArray[np.float32]
Probabilities = npt.NDArray[np.float64]
Groups = npt.NDArray[np.str_] | None


def _rows(config: EvaluateConfig, predictor: Predictor, console: Console) -> tuple[Rows, Groups]:
    """Returns the rows, and the groups that their intervals draw whole: those of a table, of which
    it is not known whether training had them."""
    section = config.data
    if isinstance(section, SyntheticSection):
        data = prepare(section)
        judged = data.tests.get("test", data.val)
        return judged, units_of(judged, data.train)
    assert isinstance(section, TableSection)
    tell = partial(say, console)
    rows = prepare_for(predictor.preprocessing, section, tell, predictor.label_rule)
    return rows, rows.group


def _table(y: Labels, p: Probabilities, threshold: float, group: Groups) -> bytes:
    """Returns row number, label, probability and verdict of each row, in the order of the input."""
    frame = pd.DataFrame(
        {
            "row": np.arange(len(y)),
            "label": y.astype(np.int8),
            "probability": p,
            "flagged": p >= threshold,
            **({"group": group} if group is not None else {}),
        }
    )
    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False)
    return buffer.getvalue()


def _summary(
    config: EvaluateConfig,
    folder: RunFolder,
    predictor: Predictor,
    rows: Rows,
    p: Probabilities,
    drawn: Groups,
    what: str,
) -> dict[str, Any]:
    y, group = rows.y, rows.group
    clusters = None if drawn is None else clusters_of(y == 1, drawn)
    drawn_groups = {} if clusters is None else {"test": clusters.groups}
    delay = detection_delay(y, p, group, rows.time, predictor.threshold)
    delay = None if delay is None else {"part": "test", **delay}
    groups = None if group is None else by_group(y, p, group, predictor.threshold)
    promise = predictor.promise_of(config.threshold)
    report = {
        "command": "evaluate",
        "run": config.run,
        "status": "ok",
        "exit_code": int(ExitCode.OK),
        "objective": predictor.config.objective,
        "trials": summary.count_states({}),
        "best": {
            "params": {},
            "checkpoint": config.checkpoint,
            "config": predictor.config.model_dump(mode="json"),
            "rows": len(y),
            "threshold": predictor.threshold,
            "threshold_is": what,
            "promise": promise,
            "test": intervals(y, p, predictor.threshold, group=drawn),
        },
        "baseline": None,
        "bayes": None,
        "groups": groups,
        "drawn_groups": drawn_groups,
        "detection_delay": delay,
        "notes": [
            *few_rows({"test": (y, drawn)}),
            *group_notes(drawn_groups, config.data),
            *delay_notes(delay),
            *_kept(promise, y, p, predictor.threshold, group),
        ],
        "versions": summary.versions(),
        "folder": str(folder.path),
    }
    plain: dict[str, Any] = summary.finite(report)
    return plain


def _attacked(
    config: EvaluateConfig,
    predictor: Predictor,
    rows: Rows,
    drawn: Groups,
    report: dict[str, Any],
) -> dict[str, Any]:
    """Returns ``robustness``, and with it the metric and its sentence, where ``data.mutable`` names
    columns."""
    attacker = attacker_for(config.data, predictor.preprocessing, rows.raw)
    found = robustness(predictor, rows, attacker, drawn)
    if found is None:
        return {}
    metric = {key: found[key] for key in ("value", "low", "high")}
    best = {**report["best"], "test": {**report["best"]["test"], "robustness": metric}}
    attacked = {"test": found}
    notes = [*report["notes"], *robustness_notes(attacked)]
    plain: dict[str, Any] = summary.finite({"best": best, "robustness": attacked, "notes": notes})
    return plain


def _rivals(
    rivals: Mapping[str, Predictor],
    predictor: Predictor,
    rows: Rows,
    p: Probabilities,
    drawn: Groups,
) -> dict[str, Any]:
    """Returns ``rivals``, ``baseline`` and ``comparison``: what the default models that the run
    keeps reach on the same rows."""
    prepared = predictor.preprocessing.to_json()
    judged: dict[str, dict[str, Any]] = {}
    on_validation: dict[str, dict[str, Any]] = {}
    for family, rival in rivals.items():
        if rival.preprocessing.to_json() != prepared:
            continue  # the folder holds those of another run
        q = score_rows(rival, rows)
        both = len(np.unique(rows.y)) == 2
        judged[family] = {
            "model": family,
            "threshold": rival.threshold,
            "test": intervals(rows.y, q, rival.threshold, group=drawn),
            **({"comparison": dict(compare(rows.y, p, q, group=drawn))} if both else {}),
        }
        names = {key.removeprefix("val/"): {"value": value} for key, value in rival.metrics.items()}
        on_validation[family] = names
    if not judged:
        return {}
    baseline = judged[strongest(on_validation, predictor.config.objective)]
    return {
        "rivals": list(judged.values()),
        "baseline": {key: value for key, value in baseline.items() if key != "comparison"},
        **({"comparison": baseline["comparison"]} if "comparison" in baseline else {}),
    }


def _kept(
    promise: dict[str, Any] | None, y: Labels, p: Probabilities, threshold: float, group: Groups
) -> list[str]:
    """Returns what was promised of the threshold, and whether these rows refuse it."""
    if promise is None:
        return []
    notes = [str(promise["sentence"])]
    if promise.get("holds") is True:
        refused = disproof(promise, y, p, threshold, where="these rows", group=group)
        notes += [f"The promise is broken: {refused}."] if refused else []
    return notes
