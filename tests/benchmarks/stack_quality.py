"""``python -m tests.benchmarks.stack_quality``: what training in stacks costs the search.

Simulated sweeps (``tests/search/simulated.py``: no training, a landscape of 12 shapes and 3 more
parameters) by TPE and ASHA, trial by trial and in the stacks that ``trials_per_lane=auto`` allows.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import tempfile
from pathlib import Path

from tests.search import simulated

SPACES = {"one shape": simulated.ONE_SHAPE, "12 shapes": simulated.TREE}


def main(argv: list[str] | None = None) -> int:
    """Print the table."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--trials", type=int, nargs="+", default=[32, 64])
    options.add_argument("--seeds", type=int, default=20)
    given = options.parse_args(argv)
    print("| space | trials | at a time | winner (standard error) | worst | reports | shapes |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for name, tree in SPACES.items():
        for n in given.trials:
            for size in (1, n // 8):
                found = []
                for seed in range(given.seeds):
                    with tempfile.TemporaryDirectory() as folder:
                        found.append(
                            simulated.sweep(
                                Path(folder), size=size, seed=seed, n_trials=n, tree=tree
                            )
                        )
                best = [result.best for result in found]
                error = statistics.stdev(best) / math.sqrt(len(best))
                print(
                    f"| {name} | {n} | {size} | {statistics.mean(best):.4f} ({error:.4f}) "
                    f"| {min(best):.4f} | {statistics.mean(r.reports for r in found):.0f} "
                    f"| {statistics.mean(r.shapes for r in found):.1f} |",
                    flush=True,
                )
    return 0


if __name__ == "__main__":
    sys.exit(main())
