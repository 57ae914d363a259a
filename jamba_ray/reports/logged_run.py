"""Logs runs that were trained by other means (``jamba_ray.log_run``), to compare them with
others."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from jamba_ray.config.names import run_name
from jamba_ray.config.params import flatten, put
from jamba_ray.config.training import TrainingSection
from jamba_ray.errors import ConfigError
from jamba_ray.reports.files import write_report
from jamba_ray.reports.run import Run
from jamba_ray.runs.file_writes import write_bytes, write_json
from jamba_ray.runs.row_log import RowLog
from jamba_ray.runs.run_folder import RunFolder, unused_name
from jamba_ray.study.trials_table import write_trials

_PREFERRED = "average_precision"


def log_run(
    params: Mapping[str, Any],
    metrics: Mapping[str, float],
    history: Sequence[Mapping[str, float]] = (),
    *,
    name: str | None = None,
    objective: str | None = None,
    store: str | Path = "runs",
) -> Run:
    """Writes a finished run of your own into ``store``.

    ``get_best_runs``, the plots and ``python -m jamba_ray.report runs=[...]`` find it there.

    Args:
        params: The parameters; ``learning_rate`` becomes ``training.learning_rate``, a name that is
            no training setting belongs to ``model``, and dotted names are kept.
        metrics: Results: ``roc_auc`` or ``val/roc_auc`` on validation rows, ``test/roc_auc`` on
            test rows.
        history: One mapping per epoch; metrics are named as in ``metrics``, other values
            (``train/loss``) freely.
        name: The run's name; None: ``logged-`` and the time.
        objective: The metric that ranks the run; None: ``average_precision`` if it is given,
            else the first one.
        store: Folder of runs.

    Raises:
        ConfigError: A value is no finite number, a parameter no plain value, or a name is invalid.
        RunExistsError: The store has a run of that name.
        StorageError: The disk refuses the files.
    """
    parts = _parts(metrics)
    objective = objective or (
        _PREFERRED if _PREFERRED in parts["val"] else next(iter(parts["val"]))
    )
    if objective not in parts["val"]:
        raise ConfigError(
            [f"`objective` must be one of {list(parts['val'])}, but is {objective!r}. Log it too."]
        )
    config = {**_config(params), "objective": objective}
    name = unused_name(str(store), "logged") if name is None else _checked(name)
    folder = RunFolder(Path(store) / name)
    folder.create()
    write_bytes(folder.config, yaml.safe_dump(config, sort_keys=False).encode())
    rows = RowLog(folder.path, system=False)
    for epoch, row in enumerate(history, 1):
        named = {f"val/{k}" if k in parts["val"] else k: float(v) for k, v in row.items()}
        rows.write(0, epoch, named, epoch=float(epoch))
    write_json(folder.summary, _summary(folder, config, parts, len(history)))
    run = Run(folder.path)
    write_trials(folder, run.records)
    write_report(run)
    return run


def _parts(metrics: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """Returns the metrics by part: {``val``, ``test``: {metric: value}}."""
    parts: dict[str, dict[str, float]] = {"val": {}, "test": {}}
    mistakes: list[str] = []
    for key, value in metrics.items():
        part, _, metric = key.rpartition("/")
        if (part or "val") not in parts:
            mistakes.append(
                f"`metrics` must name results such as 'roc_auc' or 'test/roc_auc', but has {key!r}."
                " Put what is measured while training into `history`."
            )
        elif not isinstance(value, (int, float)) or not math.isfinite(value):
            mistakes.append(
                f"`metrics` must hold finite numbers, but {key!r} is {value!r}. Leave it out."
            )
        else:
            parts[part or "val"][metric] = float(value)
    if not parts["val"] and not mistakes:
        mistakes.append("`metrics` must hold a validation metric, but has none. Log 'roc_auc'.")
    if mistakes:
        raise ConfigError(mistakes)
    return parts


def _config(params: Mapping[str, Any]) -> dict[str, Any]:
    """Returns ``params`` as the sections of a run's configuration."""
    tree: dict[str, Any] = {"model": {}, "training": {}}
    mistakes: list[str] = []
    for path, given in flatten(params).items():
        value = given.item() if hasattr(given, "item") else given  # NumPy's scalars
        if value is not None and not isinstance(value, (str, int, float, bool)):
            mistakes.append(
                f"`params` must hold numbers, strings and booleans, but {path!r} is a "
                f"{type(value).__name__}. Log what describes it."
            )
        elif "." in path:
            put(tree, path, value)
        elif path == "model":
            tree["model"]["name"] = value
        else:
            tree["training" if path in TrainingSection.model_fields else "model"][path] = value
    if mistakes:
        raise ConfigError(mistakes)
    return tree


def _summary(
    folder: RunFolder,
    config: Mapping[str, Any],
    parts: Mapping[str, Mapping[str, float]],
    epochs: int,
) -> dict[str, Any]:
    """Returns ``summary.json`` in the form of other commands, without intervals for lack of
    rows."""
    judged = {p: {k: {"value": v} for k, v in found.items()} for p, found in parts.items() if found}
    return {
        "command": "log_run",
        "run": folder.name,
        "objective": config["objective"],
        "status": "ok",
        "exit_code": 0,
        "trials": {"complete": 1, "pruned": 0, "failed": 0, "running": 0},
        "failures": [],
        "best": {
            "trial": 0,
            "params": {},
            "config": dict(config),
            "step": epochs,
            "epochs": float(epochs),
            **judged,
        },
        "baseline": None,
        "bayes": None,
        "notes": [],
        "folder": str(folder.path),
    }


def _checked(name: str) -> str:
    try:
        return run_name(name)
    except ValueError as error:
        raise ConfigError([f"`name`: {error}."]) from None
