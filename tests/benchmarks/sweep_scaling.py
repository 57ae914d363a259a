"""How the cost of a sweep grows with trials, rows and features; see ``sweep_speed``."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from tests.benchmarks.workloads import Workload

TRIALS, ROWS, FEATURES = (16, 64, 256), (10_000, 100_000, 1_000_000), (8, 32, 128)


def scaling(measure: Callable[[Workload], Any]) -> None:
    """Print a table a dimension; the other two stay small, so that all of it takes minutes."""
    few = ("data.n_samples=8000", "training.epochs=0.5")
    _table("trials", ((n, (*few, f"n_trials={n}")) for n in TRIALS), measure)
    short = ("n_trials=4", "training.epochs=0.1", "training.batch_size=256")
    _table("rows", ((n, (*short, f"data.n_samples={n}")) for n in ROWS), measure)
    wide = (*few, "n_trials=8", "pruner.name=none")
    _table("features", ((n, (*wide, f"data.n_features={n}")) for n in FEATURES), measure)


def _table(
    what: str,
    cases: Iterable[tuple[int, tuple[str, ...]]],
    measure: Callable[[Workload], Any],
) -> None:
    print(f"| {what} | wall | first trial ended | after the last | rows trained | in steps |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: |")
    for n, settings in cases:
        run = measure(Workload.of("quick", settings))
        print(
            f"| {n:,} | {run.wall_s:.1f} s | {run.ended_s[0]:.1f} s | "
            f"{run.wall_s - run.ended_s[-1]:.1f} s | {run.rows:,.0f} | {run.step_s:.1f} s |",
            flush=True,
        )
    print()
