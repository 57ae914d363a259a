"""A sweep without training: curves that are a pure function of a trial's parameters.

The landscape has what makes a search hard: structures that differ in worth, a best learning rate
that depends on the structure, parameters that hardly matter, curves that cross, and noise.
"""

from __future__ import annotations

import hashlib
import math
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from jamba_ray.config.space import Params
from jamba_ray.study.records import ReportLine, TrialOutcome, TrialSpec
from jamba_ray.study.sweep_study import SweepStudy
from tests.study.studies import settings

Landscape = Callable[[Params, int], list[float]]
"""Validation scores at all reports, of a trial's parameters and its seed."""

N_REPORTS = 16
_MEMORY = Path("/dev/shm")
TREE: dict[str, Any] = {
    "model": {
        "width": {"type": "categorical", "choices": [16, 32, 64]},
        "heads": {"type": "categorical", "choices": [1, 2, 4, 8]},
    },
    "training": {
        "rate": {"type": "float", "low": 1e-4, "high": 1e-1, "log": True},
        "dropout": {"type": "float", "low": 0.0, "high": 0.5},
        "decay": {"type": "float", "low": 1e-6, "high": 1e-1, "log": True},
    },
}
ONE_STRUCTURE = {"training": TREE["training"]}
_WIDTH = {16: 0.03, 32: 0.0, 64: 0.01}
_HEADS = {1: 0.025, 2: 0.01, 4: 0.0, 8: 0.015}


def curve(params: Params, seed: int) -> list[float]:
    """Validation scores at all reports; the best attainable last one is about 0.9."""
    width, heads = int(params.get("model.width", 32)), int(params.get("model.heads", 4))
    rate = math.log10(float(params["training.rate"]))
    best_rate = -2.0 - 0.3 * math.log2(width / 32)
    goal = 0.9 - _WIDTH[width] - _HEADS[heads] - 0.05 * (rate - best_rate) ** 2
    goal -= 0.15 * (float(params["training.dropout"]) - 0.15) ** 2
    goal -= 0.001 * (math.log10(float(params["training.decay"])) + 4) ** 2
    slow = 1.5 * 10 ** (0.35 * max(0.0, -2.0 - rate))
    return [
        goal - 0.4 * math.exp(-step / slow) + 0.004 * _noise(params, seed, step)
        for step in range(1, N_REPORTS + 1)
    ]


def _noise(params: Params, seed: int, step: int) -> float:
    """Uniform in [-1, 1]."""
    text = f"{sorted(params.items())}{seed}{step}".encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:4], "big") / 2**31 - 1.0


@dataclass(frozen=True)
class Result:
    """A simulated sweep."""

    best: float
    """What the winner would score without noise and luck: the mean of its last curve points."""
    reports: int
    """Reports of all trials: what the sweep cost."""
    structures: int


def folder() -> tempfile.TemporaryDirectory[str]:
    """For a study: in memory where there is such a place, as commits are not what is tried."""
    return tempfile.TemporaryDirectory(dir=_MEMORY if _MEMORY.is_dir() else None)


def sweep(
    folder: Path, *, size: int, seed: int, landscape: Landscape = curve, **changes: Any
) -> Result:
    """One runner that trains stacks of up to ``size`` trials, all of which report in step."""
    study = SweepStudy(
        folder / "study.journal", settings(seed=seed, stack=size, **changes), session="s"
    )
    train_all(study, size, landscape=landscape)
    records, best = study.records(), study.progress().best
    study.close()
    assert best is not None
    worth = sum(landscape(best.params, luck)[-1] for luck in range(64)) / 64
    structures = {tuple(v for p, v in r.params.items() if p.startswith("model.")) for r in records}
    return Result(worth, sum(len(r.curve) for r in records), len(structures))


def train_all(
    study: SweepStudy,
    size: int,
    *,
    prefix: str = "s",
    boundaries: int = 10**9,
    landscape: Landscape = curve,
) -> bool:
    """Ask, fill, train and report as a runner does, for so many report boundaries; whether it was
    cut off there, which leaves the stack in the study as a kill would."""
    asked = 0
    while (first := study.ask(f"{prefix}/{asked}").spec) is not None:
        ticket, asked = f"{prefix}/{asked}", asked + 1
        live = {first.number: first}
        if size > 1:
            # As a runner does: what was interrupted goes on before anything new is asked for.
            live = {s.number: s for s in study.fill(ticket, size, new=first.step == 0)}
        while live:
            if boundaries == 0:
                return True
            boundaries -= 1
            live = _to_next_report(study, live, landscape)
            if live and size > 1:
                live |= {s.number: s for s in study.fill(ticket, size) if s.number not in live}
    return False


def _to_next_report(
    study: SweepStudy, live: dict[int, TrialSpec], landscape: Landscape
) -> dict[int, TrialSpec]:
    """Trials that go on after their next report."""
    live = {n: replace(spec, step=spec.step + 1) for n, spec in sorted(live.items())}
    lines = [
        ReportLine(n, spec.step, landscape(spec.params, n)[spec.step - 1])
        for n, spec in live.items()
    ]
    for told, decision in zip(lines, study.report(lines), strict=True):
        if decision == "prune":
            study.finish(TrialOutcome(told.number, "pruned"))
        elif told.step == N_REPORTS:
            study.finish(TrialOutcome(told.number, "complete", value=told.value))
        else:
            continue
        del live[told.number]
    return live
