"""Certifies the trials of the run that its argument names, as the end of a sweep does.

``python -m tests.driver.certify_run FOLDER [N]`` kills itself with -9 after the Nth model that it
trained again; it prints the certification.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch

from jamba_ray.config.run import SweepConfig
from jamba_ray.data import prepare
from jamba_ray.driver import retraining, verdict
from jamba_ray.runs.run_folder import RunFolder
from tests.driver.team_run import configured, kept


def certified(folder: Path, **settings: Any) -> SweepConfig:
    """Returns the sweep over the table in ``folder``, with time enough for every seed."""
    certify = {"max_share": 1000.0, "seeds": 3, "margin": 0.02, **settings}
    return configured(folder, certify=certify, rival=True)


def main(folder: Path, kill_after: int | None) -> None:
    """Judges the winner of the trials that ``folder`` holds."""
    torch.set_num_threads(1)
    config = certified(folder)
    data = prepare(config.data, lambda words: None)
    trials = kept(folder)
    finish, finished = retraining.Retraining._finish, [0]

    def killed(self: Any, one: Any, outcome: Any) -> None:
        finish(self, one, outcome)
        print("trained", one.folder, flush=True)
        finished[0] += 1
        if finished[0] == kill_after:
            os.kill(os.getpid(), signal.SIGKILL)

    retraining.Retraining._finish = killed  # type: ignore[method-assign]
    winner = max(trials, key=lambda t: t.value or 0.0)
    run = RunFolder.of(config.store, "run")
    found = verdict.of_winner(config, data, run, winner, trials, search_s=100.0)
    told = {"certification": found["certification"], "team": found["team"]["members"]}
    print(json.dumps(told))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else None)
