"""``summary.json``: the result of a run as strict JSON, for people, CI and whatever comes after."""

from __future__ import annotations

import math
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from jamba_ray import __version__
from jamba_ray.config.fingerprint import fingerprint
from jamba_ray.config.run import ExperimentConfig
from jamba_ray.data.prepared import PreparedData
from jamba_ray.errors import ExitCode
from jamba_ray.search.records import SweepResult, TrialRecord

_PACKAGES = ("ray", "optuna", "torch", "lightgbm", "numpy", "pandas", "pyarrow", "scikit-learn")
_STATES = ("complete", "pruned", "failed", "running")


def versions() -> dict[str, str]:
    """What the run ran on."""
    found = {"python": platform.python_version(), "jamba_ray": __version__}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def exit_code(result: SweepResult) -> ExitCode:
    """How a sweep that ended by its own rule exits."""
    codes = {
        "ok": ExitCode.OK,
        "some_failed": ExitCode.SOME_FAILED,
        "none_succeeded": ExitCode.NONE_SUCCEEDED,
    }
    return codes[result.status]


def count_states(counts: Mapping[Any, int]) -> dict[str, int]:
    """Trials by state, each state there."""
    return {state: int(counts.get(state, 0)) for state in _STATES}


def failures(trials: Sequence[TrialRecord]) -> list[dict[str, Any]]:
    """Failed trials grouped by reason, the most frequent first."""
    by_reason: dict[str, list[int]] = {}
    for trial in trials:
        if trial.state == "failed":
            by_reason.setdefault(trial.reason or "no reason given", []).append(trial.number)
    groups = [
        {"reason": reason, "count": len(numbers), "trials": numbers}
        for reason, numbers in by_reason.items()
    ]
    return sorted(groups, key=lambda group: -len(group["trials"]))


def frame(command: str, config: ExperimentConfig, data: PreparedData) -> dict[str, Any]:
    """What every summary says, however the run ended."""
    return {
        "command": command,
        "run": config.run,
        "objective": config.objective,
        "config_fingerprint": fingerprint(config),
        "data_fingerprint": data.fingerprint,
        "versions": versions(),
        "best": None,
        "rival": None,
        "bayes": None,
    }


def finite(value: Any) -> Any:
    """``value`` with every NaN and infinity as None: JSON has no name for them."""
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
