"""``python -m tests.benchmarks.stack_quality``: what training in stacks costs the search.

Simulated sweeps by TPE and ASHA in one runner, without training: on two invented landscapes
(``tests/study/simulated.py``) and on one taken from a real search (``tests/study/landscape.py``).
"At a time" is 1 (trial by trial), or a sixteenth or an eighth of the trials: from the start, or
grown to as ``trials_per_runner=auto`` does.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.study import landscape, simulated

SPACES = {
    "real": (landscape.TREE, landscape.curve),
    "one structure": (simulated.ONE_STRUCTURE, simulated.curve),
    "12 structures": (simulated.TREE, simulated.curve),
}


def main(argv: list[str] | None = None) -> int:
    """Print the table."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--space", choices=list(SPACES), nargs="+", default=list(SPACES))
    options.add_argument("--trials", type=int, nargs="+", default=[32, 64, 128])
    options.add_argument("--seeds", type=int, default=20)
    given = options.parse_args(argv)
    print("| space | trials | at a time | winner (standard error) | worst | reports | structures |")
    print("| --- | ---: | --- | ---: | ---: | ---: | ---: |")
    for name in given.space:
        for n in given.trials:
            for size, begin_with in ((1, None), (n // 8, 1), (n // 8, 8), (n // 8, None)):
                found = [_sweep(name, n, size, begin_with, seed) for seed in range(given.seeds)]
                words = str(size) if size == 1 else f"{begin_with or size} to {size}"
                print(f"| {name} | {n} | {words} | {_in_words(found)} |", flush=True)
    return 0


def _sweep(space: str, n: int, size: int, begin_with: int | None, seed: int) -> simulated.Result:
    tree, curve = SPACES[space]
    with simulated.folder() as folder:
        return simulated.sweep(
            Path(folder),
            size=size,
            seed=seed,
            landscape=curve,
            n_trials=n,
            tree=tree,
            begin_with=begin_with,
        )


def _in_words(found: Sequence[simulated.Result]) -> str:
    best = [result.best for result in found]
    error = statistics.stdev(best) / math.sqrt(len(best))
    return (
        f"{statistics.mean(best):.4f} ({error:.4f}) | {min(best):.4f} "
        f"| {statistics.mean(r.reports for r in found):.0f} "
        f"| {statistics.mean(r.structures for r in found):.1f}"
    )


if __name__ == "__main__":
    sys.exit(main())
