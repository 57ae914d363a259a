"""``python -m tests.driver.stack_sweep <folder>``: a real sweep in stacks, to be interrupted."""

from __future__ import annotations

import sys
from pathlib import Path

from jamba_ray.errors import JambaError
from jamba_ray.runs.run_folder import RunFolder
from jamba_ray.study.records import SweepProgress
from tests.study import trials


def main(argv: list[str]) -> int:
    """Run or resume; prints what finished."""

    def watch(progress: SweepProgress) -> None:
        print("finished", *sorted(r.number for r in progress.finished), flush=True)

    try:
        trials.sweep(
            RunFolder(Path(argv[0])).create(resume=True),
            None,
            watch,
            n_trials=12,
            trials_per_runner=3,
            max_concurrent=1,
            model={"name": "mlp", "hidden_dim": 16, "norm": "layer"},
            training={"epochs": 16.0, "batch_size": 32},
        )
    except JambaError as error:
        print("error:", error, flush=True)
        return int(error.exit_code)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
