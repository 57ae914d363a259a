"""Builds the table of all trials, the best first, with the reason why each ended."""

from __future__ import annotations

from jamba_ray.config.direction import badness
from jamba_ray.config.search import PrunerSection
from jamba_ray.reports.run import Run
from jamba_ray.reports.words import LABELS, duration, names_of, origin_in_words, short
from jamba_ray.study.records import TrialRecord
from jamba_ray.study.sampling import rung_steps

MOST = 1000
"""The most trials that a report lists; ``trials.parquet`` has all."""
_MOST_PARAMETERS = 16
_ORDER = ("complete", "pruned", "running", "failed")

Table = list[list[str]]


def trials_table(run: Run, most: int = MOST) -> Table:
    """Returns a row for each trial, the best first.

    A pruned trial counts with its last value and names its rung; trials without a value, running or
    failed, come last.
    """
    trials = sorted(run.records, key=lambda t: _place(run, t))
    paths = list(dict.fromkeys(path for t in trials for path in t.params))[:_MOST_PARAMETERS]
    rungs = rungs_of(run, 1 + max((t.curve[-1][0] for t in trials if t.curve), default=0))
    label = LABELS.get(run.objective, run.objective)
    is_folded = any(t.folds for t in trials)
    of_folds = ["± (folds)"] if is_folded else []
    head = ["trial", label, *of_folds, "ended", *names_of(paths).values(), "epochs", "time"]
    rows = [
        [
            str(t.number),
            "–" if (value := last_value(t)) is None else f"{value:.5f}",
            *([_spread(t)] if is_folded else []),
            _ended(t, rungs) + origin_in_words(t.origin),
            *(short(t.params[p]) if p in t.params else "" for p in paths),
            f"{t.epochs:.3g}",
            duration(t.seconds),
        ]
        for t in trials[:most]
    ]
    return [head, *rows] if rows else []


def _spread(trial: TrialRecord) -> str:
    """Returns the standard error over folds and their number; of a trial that was stopped in its
    first fold nothing."""
    if not trial.folds:
        return ""
    error = "–" if trial.std_error is None else f"{trial.std_error:.5f}"
    return f"{error} ({len(trial.folds)})"


def last_value(trial: TrialRecord) -> float | None:
    """Returns the objective of a trial: the final one, else that of its last report."""
    if trial.value is not None:
        return trial.value
    return trial.curve[-1][1] if trial.curve else None


def rungs_of(run: Run, n_reports: int) -> list[int]:
    """Returns the report steps at which trials were compared."""
    section = run.config.get("pruner")
    if not isinstance(section, dict) or not n_reports:
        return []
    rows = [t.rows_seen / t.curve[-1][0] for t in run.records if t.curve and t.rows_seen]
    pruner = PrunerSection.model_validate(section)
    return [
        step
        for step in rung_steps(pruner, max(1, round(min(rows, default=1))), n_reports)
        if step < n_reports
    ]


def _place(run: Run, trial: TrialRecord) -> tuple[bool, float, int, int]:
    value = trial.value if trial.state in ("complete", "pruned") else None
    bad = 0.0 if value is None else badness(value, run.direction)
    return value is None, bad, _ORDER.index(trial.state), trial.number


def _ended(trial: TrialRecord, rungs: list[int]) -> str:
    step = trial.curve[-1][0] if trial.curve else 0
    if trial.state == "pruned" and step in rungs:
        return f"pruned at rung {rungs.index(step) + 1} (report {step})"
    if trial.state in ("pruned", "running", "failed") and step:
        return f"{trial.state} at report {step}"
    return trial.state
