"""Run folders as a sweep leaves them, made in a moment: a real study, real rows, no Ray."""

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from jamba_ray.evaluation import by_group, choose_threshold, compare, intervals
from jamba_ray.reports.files import write_report
from jamba_ray.reports.run import Run
from jamba_ray.runs.file_writes import write_bytes, write_json
from jamba_ray.runs.row_log import RowLog
from jamba_ray.runs.run_folder import RunFolder
from jamba_ray.study.records import ReportLine, TrialOutcome
from tests.study.studies import N_REPORTS, curve, open_study

CONFIG = {
    "model": {"name": "attention", "width": 16, "n_heads": 2},
    "training": {"rate": 0.001, "epochs": 9.0},
    "precision": "auto",
    "seed": 0,
    "objective": "average_precision",
    "data": {"name": "synthetic"},
    "tracking": {"name": "wandb", "mode": "online", "project": "jamba_ray"},
    "sweep_name": "play",
    "search_space": {"training": {"rate": {}}},
    "pruner": {"name": "asha", "min_rows": None, "reduction_factor": 3},
}

FEATURES = {
    "metric": "average_precision",
    "value": 0.91,
    "rows": 2000,
    "part": "test",
    "groups": [
        {"columns": columns, "drop": drop, "low": drop - 0.02, "high": drop + 0.03}
        for columns, drop in ((["bytes", "a<b>&c"], 0.31), (["protocol"], 0.0123), (["n"], -0.001))
    ],
}
OVERVIEW = {
    "parts": {
        name: {
            "rows": rows,
            "threats": rows // 5,
            "prevalence": 0.2,
            "from": f"2026-0{i}-01",
            "to": f"2026-0{i}-28 12:00:00",
            "also_in_train": None if name == "train" else 10 * i,
        }
        for i, (name, rows) in enumerate({"train": 6000, "val": 750, "test": 750}.items(), 1)
    },
    "columns": {"numeric": ["bytes", "a<b>&c"], "categorical": ["protocol"]},
    "left_out": {"label": "the label", "time": "the time", "host": "named in data.drop"},
    "missing": {"bytes": {"train": 0.25, "val": 0.00001, "test": 0.0}},
    "duplicates": {"repeated": 12, "both_labels": 0},
}


def make_run(path: Path, *, n_trials=6, ended=True, name_of_cause="the loss became nan"):
    """A sweep of ``n_trials``, the second failed; ``ended=False``: killed in its last trial."""
    folder = RunFolder(path)
    folder.create()
    write_bytes(folder.config, yaml.safe_dump(CONFIG, sort_keys=False).encode())
    study = open_study(path, n_trials=n_trials)
    rows = RowLog(path)
    number = 0
    while (spec := study.ask(f"s/{number}").spec) is not None:
        last = number == n_trials - 1 and not ended
        _train(study, rows, spec, stop=2 if last else N_REPORTS, cause=name_of_cause)
        number += 1
        if last:
            break
    if ended:
        study.close()
        judge(folder)
        write_report(Run(path))
    return folder, study


def _train(study, rows, spec, stop, cause):
    values = curve(spec.params, spec.number)
    for step in range(1, stop + 1):
        counts = {"rows_seen": 100 * step, "epoch": float(step), "seconds": 0.5 * step}
        metrics = {"train/loss": 1.0 / step, "val/average_precision": values[step - 1]}
        rows.write(spec.number, step, metrics, goodput_s=0.1 * step, **counts)
        line = ReportLine(spec.number, step, values[step - 1], goodput_s=0.1 * step, **counts)
        line = replace(line, runner=f"host {1 + spec.number % 2}")
        if spec.number == 1 and step == 3:
            study.finish(TrialOutcome(spec.number, "failed", reason=cause))
            return
        (decision,) = study.report([line])
        if decision == "prune":
            ended = {"rows_seen": 100 * step, "epochs": float(step), "seconds": 0.5 * step}
            study.finish(TrialOutcome(spec.number, "pruned", value=values[step - 1], **ended))
            return
    if stop == N_REPORTS:
        study.finish(
            TrialOutcome(
                spec.number,
                "complete",
                value=values[-1],
                metrics={"val/average_precision": values[-1], "val/roc_auc": values[-1]},
                best_step=N_REPORTS,
                rows_seen=900,
                epochs=9.0,
                seconds=4.5,
                goodput_s=0.9,
                checkpoint=f"trial-{spec.number:04d}/best-000009",
            )
        )


def judge(folder: RunFolder):
    """What the verdict leaves: ``summary.json``, ``scores.parquet``, ``best/``."""
    run = Run(folder.path)
    rng = np.random.default_rng(0)
    y = (rng.random(1500) < 0.2).astype(np.int8)
    p, q = (1 / (1 + np.exp(-(3 * y - 1.5 + noise * rng.normal(size=1500)))) for noise in (1, 2))
    group = np.where(y > 0, rng.choice(["dos", "probe", "worm"], 1500), "benign")
    threshold = choose_threshold(y, p)
    part = np.repeat(["val", "test"], 750)
    frame = {"part": part, "label": y, "probability": p, "baseline": q, "group": group}
    buffer = io.BytesIO()
    pd.DataFrame(frame).to_parquet(buffer, index=False)
    write_bytes(folder.scores, buffer.getvalue())
    val, test = part == "val", part == "test"
    best = run.best
    summary = {
        "command": "sweep",
        "run": folder.name,
        "objective": "average_precision",
        "status": "some_failed",
        "exit_code": 3,
        "trials": {"complete": 4, "pruned": 1, "failed": 1, "running": 0},
        "best": {
            "trial": best.number,
            "params": best.params,
            "threshold": threshold,
            "config": CONFIG,
            "val": intervals(y[val], p[val], threshold),
            "test": intervals(y[test], p[test], threshold),
        },
        "baseline": {
            "model": "lightgbm",
            "threshold": 0.5,
            "val": intervals(y[val], q[val]),
            "test": intervals(y[test], q[test]),
        },
        "comparison": compare(y[test], p[test], q[test]),
        "bayes": {"test": {"average_precision": 0.99, "roc_auc": 0.99}},
        "groups": by_group(y[test], p[test], group[test], threshold, seen=["dos", "benign"]),
        "importance": {},
        "failures": [],
        "data": OVERVIEW,
        "feature_importance": FEATURES,
        "versions": {"python": "3.11"},
        "notes": [],
        "goodput": 0.5,
        "wall_s": 12.0,
        "folder": str(folder.path),
    }
    write_json(folder.summary, json.loads(json.dumps(summary)))
    folder.best.mkdir()
    (folder.best / "config.json").write_text("{}")
    others = folder.checkpoints / f"trial-{best.number:04d}" / "best-000009"
    others.mkdir(parents=True)
    (others / "manifest.json").write_text("{}")
