"""Hypervolume of several objectives at a budget of rows: with pruning, and Optuna's without.

    python -m tests.benchmarks.front_pruning 20

A simulated landscape: a score that rises with the rows seen, and a latency that the structure
decides. Optuna's NSGA-II and MOTPE train every trial to its end; a sweep of ours prunes at its
rungs by fronts. Figures: ``front_pruning.md``.
"""

from __future__ import annotations

import math
import random
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np
import optuna

from jamba_ray.config.search import PrunerSection, SamplerSection
from jamba_ray.study.front import as_losses, hypervolume
from jamba_ray.study.records import ReportLine, TrialOutcome
from jamba_ray.study.sweep_study import SweepStudy
from tests.study.studies import settings

STEPS = 16
WHOLE = 64
"""Trials that Optuna trains to their end."""
DIRECTIONS = ("maximize", "minimize")
REFERENCE = np.array([0.0, 6.0])
TREE = {
    "model": {
        "width": {"type": "int", "low": 8, "high": 256, "log": True},
        "depth": {"type": "int", "low": 1, "high": 6},
    },
    "training": {
        "rate": {"type": "float", "low": 1e-4, "high": 1e-1, "log": True},
        "dropout": {"type": "float", "low": 0.0, "high": 0.6},
        "decay": {"type": "float", "low": 1e-6, "high": 1e-1, "log": True},
    },
}


def landscape(params: dict, noise: random.Random) -> tuple[list[float], float]:
    """The score at each report, and the latency in milliseconds."""
    width, depth = params["model.width"], params["model.depth"]
    size = math.log2(width) / 8 + depth / 12
    best = 0.55 + 0.3 * (1 - math.exp(-1.6 * size))
    rate = math.log10(params["training.rate"]) + 2.6 + 0.25 * depth / 3
    off = 0.09 * rate**2 + 0.5 * (params["training.dropout"] - 0.2) ** 2
    off += 0.012 * (math.log10(params["training.decay"]) + 3.5) ** 2
    goal = max(0.05, best - off) + noise.gauss(0, 0.004)
    speed = 0.25 + 0.2 * min(1.0, max(0.0, rate + 1.5) / 3)
    curve = [goal * (1 - math.exp(-speed * s)) + noise.gauss(0, 0.004) for s in range(1, STEPS)]
    return [*curve, goal], 0.1 + 0.006 * depth * width**0.9


def optunas(sampler: optuna.samplers.BaseSampler, seed: int) -> list[tuple[int, float]]:
    """(rows so far, hypervolume) after each trial of a study without pruning."""
    study = optuna.create_study(directions=DIRECTIONS, sampler=sampler)
    noise, found, course = random.Random(seed), [], []
    for n in range(WHOLE):
        trial = study.ask()
        params = {
            "model.width": trial.suggest_int("width", 8, 256, log=True),
            "model.depth": trial.suggest_int("depth", 1, 6),
            "training.rate": trial.suggest_float("rate", 1e-4, 1e-1, log=True),
            "training.dropout": trial.suggest_float("dropout", 0.0, 0.6),
            "training.decay": trial.suggest_float("decay", 1e-6, 1e-1, log=True),
        }
        curve, latency = landscape(params, noise)
        study.tell(trial, [curve[-1], latency])
        found.append((curve[-1], latency))
        course.append(((n + 1) * STEPS, volume(found)))
    return course


def ours(sampler: str, seed: int, pruner: str = "asha") -> list[tuple[int, float]]:
    """The same of a sweep of ours that prunes by fronts."""
    noise, found, course, rows = random.Random(seed), [], [], 0
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        given = settings(
            TREE,
            further=("latency_ms",),
            sampler=SamplerSection(name=sampler),
            pruner=PrunerSection(name=pruner),
            seed=seed,
            n_trials=10_000,
        )
        study = SweepStudy(Path(folder) / "study.journal", given, session="s")
        while rows < WHOLE * STEPS:
            spec = study.ask(f"s/{len(course)}").spec
            curve, latency = landscape(spec.params, noise)
            state = "complete"
            for step, value in enumerate(curve, 1):
                rows += 1
                line = ReportLine(spec.number, step, value, further=(latency,))
                if study.report([line]) == ["prune"]:
                    state = "pruned"
                    break
            end = TrialOutcome(spec.number, state, value=value, metrics={"latency_ms": latency})
            study.finish(end)
            if state == "complete":
                found.append((value, latency))
            course.append((rows, volume(found)))
        study.close()
    return course


def volume(found: list[tuple[float, float]]) -> float:
    points = as_losses(found, DIRECTIONS)
    return hypervolume(points, REFERENCE) if len(points) else 0.0


def at(course: list[tuple[int, float]], rows: int) -> float:
    return max((v for used, v in course if used <= rows), default=0.0)


def main(seeds: int) -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    made = {
        "Optuna NSGA-II, no pruning": lambda s: optunas(
            optuna.samplers.NSGAIISampler(population_size=16, seed=s), s
        ),
        "Optuna NSGA-II (its default population, 50)": lambda s: optunas(
            optuna.samplers.NSGAIISampler(seed=s), s
        ),
        "Optuna MOTPE, no pruning": lambda s: optunas(optuna.samplers.TPESampler(seed=s), s),
        "ours, tpe, no pruning": lambda s: ours("tpe", s, "none"),
        "ours, tpe, pruned by fronts": lambda s: ours("tpe", s),
        "ours, nsga2, pruned by fronts": lambda s: ours("nsga2", s),
        "ours, random, pruned by fronts": lambda s: ours("random", s),
    }
    budget = WHOLE * STEPS
    courses = {name: [make(seed) for seed in range(seeds)] for name, make in made.items()}
    print("| search | 1/4 of the rows | half | all |\n| --- | --- | --- | --- |")
    for name, all_of in courses.items():
        cells = []
        for share in (0.25, 0.5, 1.0):
            found = [at(course, int(share * budget)) for course in all_of]
            error = statistics.stdev(found) / math.sqrt(len(found)) if len(found) > 1 else 0.0
            cells.append(f"{statistics.mean(found):.4f} ± {error:.4f}")
        print(f"| {name} | {' | '.join(cells)} |")
    for name in list(made)[4:]:
        for rival in list(made)[:3]:
            half = [at(c, budget // 2) for c in courses[name]]
            whole = [at(c, budget) for c in courses[rival]]
            gains = [a - b for a, b in zip(half, whole, strict=True)]
            print(
                f"{name} at half the rows - {rival} at all: {statistics.mean(gains):+.4f}, "
                f"at least equal in {sum(g >= 0 for g in gains)} of {seeds}"
            )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
