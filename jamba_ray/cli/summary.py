"""Builds ``summary.json``: the result of a run as strict JSON, for people, CI and other
programs."""

from __future__ import annotations

import math
import platform
import re
import shlex
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from jamba_ray import __version__
from jamba_ray.config.command_line import command
from jamba_ray.config.fingerprint import fingerprint
from jamba_ray.config.plugin_modules import as_words
from jamba_ray.config.run import ExperimentConfig, SweepConfig
from jamba_ray.data.prepared import PreparedData
from jamba_ray.errors import ExitCode, StorageError
from jamba_ray.reports.answer import dashboard_command
from jamba_ray.reports.run import Run
from jamba_ray.runs.run_folder import RunFolder
from jamba_ray.study.records import SweepResult, TrialRecord

_PACKAGES = (
    *("ray", "optuna", "torch", "lightgbm", "numpy", "pandas", "pyarrow", "scikit-learn"),
    *("xgboost", "catboost"),
)
_STATES = ("complete", "pruned", "failed", "running")


def versions() -> dict[str, str]:
    """Returns the versions of Python and of the packages that the run used."""
    found = {"python": platform.python_version(), "jamba_ray": __version__}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def exit_code(result: SweepResult) -> ExitCode:
    """Returns the exit code of a sweep that ended normally."""
    codes = {
        "ok": ExitCode.OK,
        "some_failed": ExitCode.SOME_FAILED,
        "none_succeeded": ExitCode.NONE_SUCCEEDED,
    }
    return codes[result.status]


def count_states(counts: Mapping[Any, int]) -> dict[str, int]:
    """Counts trials by state; every state is a key."""
    return {state: int(counts.get(state, 0)) for state in _STATES}


def search(config: SweepConfig) -> dict[str, Any]:
    """Returns how trials were proposed and when they were stopped early."""
    return {
        "sampler": config.sampler.model_dump(mode="json"),
        "pruner": config.pruner.model_dump(mode="json"),
        "objectives": list(config.objectives),
        "constraint": list(config.constraint),
        "warm_start": list(config.warm_start),
    }


def next_commands(folder: RunFolder, result: SweepResult, plugins: Sequence[str] = ()) -> list[str]:
    """Returns what may follow: commands that run here as they are."""
    if result.best is None:
        return [f"tail -n 50 {shlex.quote(str(folder.logs))}/*"]
    chosen = command("threshold", str(folder.path), "max_fpr=0.01", *as_words(plugins))
    # It comes with an extra of its own.
    return [chosen, *([dashboard_command(folder)] if shutil.which("optuna-dashboard") else [])]


def limit_notes(config: SweepConfig, winner: TrialRecord) -> list[str]:
    """Returns what ``constraint`` meant for the winner: that it is one trial, and whether even it
    breaks a limit."""
    if not config.constraint:
        return []
    if not winner.violation:
        kept = " and ".join(config.constraint)
        return [f"The winner is one trial that keeps {kept}: no team is sought, none is certified."]
    return [
        f"No trial keeps `constraint`: the winner breaks it the least ({winner.violation:.4g} over "
        "its limits). Widen the search space or the limit."
    ]


def failures(trials: Sequence[TrialRecord]) -> list[dict[str, Any]]:
    """Returns the failed trials by cause, the most frequent first; ``reason`` is that of the first
    trial.

    Reasons that differ only in numbers (a step, a loss, an address) are one cause.
    """
    by_cause: dict[str, list[TrialRecord]] = {}
    for trial in trials:
        if trial.state == "failed":
            by_cause.setdefault(cause(trial.reason), []).append(trial)
    groups = [
        {
            "reason": failed[0].reason or "no reason given",
            "count": len(failed),
            "trials": [trial.number for trial in failed],
        }
        for failed in by_cause.values()
    ]
    return sorted(groups, key=lambda group: -len(group["trials"]))


def cause(reason: str | None) -> str:
    """Returns a failure's reason without its numbers, the same for failures of one cause."""
    return re.sub(r"0x[0-9a-f]+|\d+(\.\d+)?(e[+-]?\d+)?", "#", reason or "")


def so_far(folder: RunFolder) -> dict[str, Any]:
    """Returns the state of a sweep that was stopped, from its study.

    It has the trials by state, the causes of failures, and the best trial so far (which was not
    evaluated on any test).
    """
    try:
        run = Run(folder.path)
        trials, best = (None, None) if run.study is None else (run.study.trials, run.best)
    except StorageError:
        trials = best = None
    if trials is None:
        return {"trials": None, "failures": [], "best_so_far": None}
    return {
        "trials": count_states(Counter(t.state for t in trials)),
        "failures": failures(trials),
        "best_so_far": None
        if best is None
        else {"trial": best.number, "value": best.value, "params": dict(best.params)},
    }


def is_of(found: Mapping[str, Any], mine: Mapping[str, Any], result: SweepResult) -> bool:
    """Says whether the summary ``found`` is still valid, so that nothing has to be evaluated again.

    It must have the result ``result`` and the same settings, data and versions as ``mine``.
    """
    told = {"status": result.status, "trials": count_states(result.counts)}
    told |= {key: mine[key] for key in ("config_fingerprint", "data_fingerprint", "versions")}
    best = (found.get("best") or {}).get("trial")
    if certification := found.get("certification"):
        best = certification["leader"]  # the winner may be another
    if front := found.get("front"):
        best = front["leader"]
    return all(found.get(key) == value for key, value in told.items()) and best == (
        None if result.best is None else result.best.number
    )


def frame(command: str, config: ExperimentConfig, data: PreparedData) -> dict[str, Any]:
    """Returns the keys that every summary has, however the run ended."""
    return {
        "command": command,
        "run": config.run,
        "objective": config.objective,
        "config_fingerprint": fingerprint(config),
        "data_fingerprint": data.fingerprint,
        "data": dict(data.overview),
        "versions": versions(),
        "best": None,
        "baseline": None,
        "rivals": [],
        "bayes": None,
    }


def finite(value: Any) -> Any:
    """Replaces every NaN and infinity in ``value`` by None, because JSON has no name for them."""
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
