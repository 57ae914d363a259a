"""A study to play with: a space, settings, and trials that need no network."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from jamba_ray.config.space import Parameter, Params, SearchSpace, in_order, parse_leaves
from jamba_ray.study.records import ReportLine, TrialOutcome, TrialSpec
from jamba_ray.study.recovery import STUDY_NAME
from jamba_ray.study.settings import StudySettings
from jamba_ray.study.sweep_study import SweepStudy

N_REPORTS = 9
TREE: dict[str, Any] = {
    "model": {"width": {"type": "categorical", "choices": [8, 16, 32, 64]}},
    "training": {"rate": {"type": "float", "low": 1e-4, "high": 1e-1, "log": True}},
}


def space_of(tree: Mapping[str, Any], base: Mapping[str, Any] | None = None) -> SearchSpace:
    leaves, mistakes = parse_leaves(tree)
    assert not mistakes
    order, circles = in_order(leaves)
    assert not circles
    return SearchSpace(
        parameters=tuple(
            Parameter(path=p, leaf=leaves[p], stackable=p.startswith("training.")) for p in order
        ),
        base=dict(base or {}),
    )


def settings(tree: Mapping[str, Any] = TREE, **changes: Any) -> StudySettings:
    given: dict[str, Any] = {
        "space": space_of(tree),
        "objective": "average_precision",
        "direction": "maximize",
        "n_trials": 12,
        **changes,
    }
    return StudySettings(**given)


def curve(params: Params, seed: int) -> list[float]:
    """Rising, best near a rate of 1e-2, and different for each seed: a deterministic trial."""
    goal = 0.9 - 0.1 * abs(math.log10(float(params["training.rate"] or 1)) + 2) + seed % 7 / 1000
    return [goal * (1 - 0.5**step) for step in range(1, N_REPORTS + 1)]


def line(number: int, step: int, value: float) -> ReportLine:
    return ReportLine(number, step, value, rows_seen=100 * step, goodput_s=0.1 * step)


def train(study: SweepStudy, spec: TrialSpec, *, start: int = 1, stop: int = N_REPORTS) -> bool:
    """Report steps start..stop of a trial and finish it if it ends; whether it ended."""
    values = curve(spec.params, spec.number)
    for step in range(start, stop + 1):
        (decision,) = study.report([line(spec.number, step, values[step - 1])])
        if decision == "prune":
            study.finish(TrialOutcome(spec.number, "pruned", value=values[step - 1]))
            return True
    if stop < N_REPORTS:
        return False
    study.finish(
        TrialOutcome(
            spec.number,
            "complete",
            value=values[-1],
            metrics={"val/roc_auc": values[-1]},
            checkpoint=f"trial-{spec.number:04d}/best-000009",
            goodput_s=0.9,
        )
    )
    return True


def run_to_end(study: SweepStudy, prefix: str = "s") -> list[TrialSpec]:
    specs = []
    while (spec := study.ask(f"{prefix}/{len(specs)}").spec) is not None:
        specs.append(spec)
        train(study, spec, start=1)
    return specs


def plain(path: Path) -> optuna.Study:
    """The study as a user opens it, with Optuna alone."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage = JournalStorage(JournalFileBackend(str(path)))
    return optuna.load_study(study_name=STUDY_NAME, storage=storage)


def open_study(folder: Path, **changes: Any) -> SweepStudy:
    session = changes.pop("session", "s")
    more = {name: changes.pop(name) for name in ("clock", "waiting") if name in changes}
    return SweepStudy(folder / "study.journal", settings(**changes), session=session, **more)
