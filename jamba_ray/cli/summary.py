"""``summary.json``: the result of a run as strict JSON, for people, CI and whatever comes after."""

from __future__ import annotations

import math
import platform
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from jamba_ray import __version__
from jamba_ray.config.fingerprint import fingerprint
from jamba_ray.config.run import ExperimentConfig
from jamba_ray.data.prepared import PreparedData
from jamba_ray.errors import ExitCode, StorageError
from jamba_ray.reports.run import Run
from jamba_ray.runs.run_folder import RunFolder
from jamba_ray.study.records import SweepResult, TrialRecord

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
    """Failed trials grouped by root cause, the most frequent first; ``reason`` is the first one's.

    Reasons that differ in numbers only (a step, a loss, an address) are one cause.
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
    """What the study says of a sweep that did not end by itself: its trials by state, how the
    failed ones failed, and the best so far (which was not judged on any test)."""
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
    """Whether a summary ``found`` tells of ``result`` under the same settings, data and versions
    as ``mine``, so that nothing has to be judged again."""
    told = {"status": result.status, "trials": count_states(result.counts)}
    told |= {key: mine[key] for key in ("config_fingerprint", "data_fingerprint", "versions")}
    best = (found.get("best") or {}).get("trial")
    return all(found.get(key) == value for key, value in told.items()) and best == (
        None if result.best is None else result.best.number
    )


def frame(command: str, config: ExperimentConfig, data: PreparedData) -> dict[str, Any]:
    """What every summary says, however the run ended."""
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
