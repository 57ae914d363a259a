"""Rows to reach a cold sweep's best, with and without the trials of an earlier, related sweep.

    python -m tests.benchmarks.warm_start 20

The landscape is that of ``front_pruning``, by its score alone. The related one has other noise, its
best rate is 1.6 times as large, and all its scores are 0.15 lower. Figures: ``warm_start.md``.
"""

from __future__ import annotations

import math
import random
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from jamba_ray.study.records import ReportLine, TrialOutcome
from jamba_ray.study.sweep_study import SweepStudy
from tests.benchmarks.front_pruning import TREE, landscape
from tests.study.studies import settings

TRIALS = 24
SHIFT = math.log10(1.6)


def sweep(seed: int, *, related: bool, warm: Any = ()) -> tuple[list[tuple[int, float]], Any]:
    """(rows so far, best so far) after each trial, and the trials as a later sweep takes them."""
    noise, course, rows, best = random.Random(seed), [], 0, -1.0
    taken = []
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        given = settings(TREE, seed=seed, n_trials=TRIALS, warm=warm)
        study = SweepStudy(Path(folder) / "study.journal", given, session="s")
        while (spec := study.ask(f"s/{len(course)}").spec) is not None:
            params = dict(spec.params)
            if related:
                params["training.rate"] = float(params["training.rate"]) / 10**SHIFT
            curve, _ = landscape(params, noise)
            curve = [value - 0.15 * related for value in curve]
            state = "complete"
            for step, value in enumerate(curve, 1):
                rows += 1
                if study.report([ReportLine(spec.number, step, value)]) == ["prune"]:
                    state = "pruned"
                    break
            study.finish(TrialOutcome(spec.number, state, value=value))
            best = max(best, value) if state == "complete" else best
            course.append((rows, best))
            taken.append([dict(spec.params), value, 0 if state == "complete" else step])
        study.close()
    return course, [{"from": "earlier", "of": TRIALS, "trials": taken}]


def main(seeds: int) -> None:
    shares, gains = [], []
    at: dict[int, list[list[float]]] = {32: [], 64: [], 128: []}
    for seed in range(seeds):
        _, earlier = sweep(1000 + seed, related=True)
        cold, _ = sweep(seed, related=False)
        warm, _ = sweep(seed, related=False, warm=earlier)
        goal = cold[-1][1]
        to_goal = next(rows for rows, best in cold if best >= goal)
        reached = next((rows for rows, best in warm if best >= goal), None)
        shares.append(math.inf if reached is None else reached / to_goal)
        gains.append(warm[-1][1] - goal)
        print(f"seed {seed}: cold {to_goal} rows to {goal:.4f}, warm {reached}", flush=True)
        for rows, both in at.items():
            both.append([max((b for r, b in c if r <= rows), default=0.0) for c in (cold, warm)])
    for rows, both in at.items():
        means = [statistics.mean(column) for column in zip(*both, strict=True)]
        print(f"best after {rows} rows: cold {means[0]:.4f}, warm {means[1]:.4f}")
    n = sum(share <= 1 for share in shares)
    print(
        f"warm / cold rows: median {statistics.median(shares):.2f}; fewer in {n} of {seeds}; "
        f"at the end warm - cold {statistics.mean(gains):+.4f} "
        f"(standard error {statistics.stdev(gains) / math.sqrt(seeds):.4f})"
    )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
