"""Decides whether the winner is worse than the champion by more than a given margin."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jamba_ray.cluster.job_result import JobResult
from jamba_ray.config.direction import direction_of, lead
from jamba_ray.config.search import OBJECTIVES
from jamba_ray.errors import ConfigError, UnavailableError


@dataclass(frozen=True)
class Verdict:
    """Holds the decision of the gate."""

    passed: bool
    sentence: str


def read_champion(path: str) -> dict[str, Any]:
    """Returns the champion's ``summary.json``.

    Raises:
        ConfigError: The file is not the summary of a run with a winner.
    """
    try:
        summary = json.loads(Path(path).read_text(encoding="utf-8"))
        if not isinstance(summary["best"]["val"], dict):
            raise TypeError("`best.val` is no mapping")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            [
                f"`submit.champion` must be the `summary.json` of a run with a winner, but "
                f"{path!r} is not ({type(error).__name__}: {error}). Copy one from a run folder."
            ]
        ) from None
    plain: dict[str, Any] = summary
    return plain


def read_winner(found: JobResult | None, job: str) -> dict[str, Any]:
    """Returns the winner's ``summary.json`` from the result that a job sent back.

    Raises:
        UnavailableError: It is missing, or is not the summary of a run with a winner: a gate that
            cannot compare must not pass.
    """
    try:
        content = None if found is None else found.files.get("summary.json")
        if content is None:
            raise ValueError("it was not sent")
        summary: dict[str, Any] = json.loads(content)
        if not isinstance(summary["best"]["val"], dict) or summary["objective"] not in OBJECTIVES:
            raise TypeError("it names no winner")
    except (ValueError, KeyError, TypeError) as error:
        raise UnavailableError(
            f"`submit.champion` needs the winner's `summary.json`, but job {job} sent none that "
            f"can be judged ({type(error).__name__}: {error}). See the job's log above, and its "
            "run folder in the store."
        ) from None
    return summary


def judge(winner: Mapping[str, Any], champion: Mapping[str, Any], margin: float) -> Verdict:
    """Compares two summaries on the test rows where both have them, else on validation.

    The metric is the winner's objective. This is a pure function.
    """
    objective = winner["objective"]
    part = "test" if winner["best"].get("test") and champion["best"].get("test") else "val"
    ours = _value(winner, part, objective)
    theirs = _value(champion, part, objective)
    name = f"{part}/{objective}"
    if ours is None or theirs is None:
        whose = "winner" if ours is None else "champion"
        return Verdict(False, f"{name} must be known of both, but the {whose} has none.")
    ahead = lead(ours, theirs, direction_of(objective))
    sentence = f"{name}: winner {ours:.5f}, champion {theirs:.5f}, margin {margin:g}: "
    if ahead < -margin:
        sentence += f"worse by {-ahead:.5f}, which is more than the margin."
    elif ahead < 0:
        sentence += f"worse by {-ahead:.5f}, which is within the margin."
    else:
        sentence += f"not worse (ahead by {ahead:.5f})."
    if winner.get("data_fingerprint") != champion.get("data_fingerprint"):
        sentence += " The two were measured on different data."
    return Verdict(ahead >= -margin, sentence)


def _value(summary: Mapping[str, Any], part: str, metric: str) -> float | None:
    try:
        value = float(summary["best"][part][metric]["value"])
    except (KeyError, TypeError, ValueError):
        return None
    return value if math.isfinite(value) else None
