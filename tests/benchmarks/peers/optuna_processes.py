"""Optuna alone: one process per slot on a journal, as in "Easy Parallelization" of its tutorial.

python -m tests.benchmarks.peers.optuna_processes FOLDER
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.benchmarks.peers.job import (
    Job,
    read_data,
    read_job,
    sampler,
    suggest,
    write_result,
)

NAME = "optuna_processes"


def open_study(job: Job, worker: int) -> Any:
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    return optuna.create_study(
        study_name="sweep",
        storage=JournalStorage(JournalFileBackend(str(Path(job.folder) / "journal.log"))),
        load_if_exists=True,
        direction="maximize",
        # Processes with one seed would propose the same trials.
        sampler=sampler(job, job.seed + worker),
        pruner=optuna.pruners.SuccessiveHalvingPruner(
            min_resource=job.first_rung, reduction_factor=job.reduction_factor
        ),
    )


def work(job: Job, worker: int) -> None:
    """One process: trials until there are enough of them."""
    import optuna
    from optuna.study import MaxTrialsCallback

    from tests.benchmarks.peers.eager import train

    data = read_data(job.folder)

    def objective(trial: Any) -> float:
        config = job.config_of({**suggest(trial, job.space), "number": trial.number})
        steps = train(config, data, job.n_reports, device=job.device, threads=job.threads)
        last: dict[str, float] = {}
        for step, last in enumerate(steps, start=1):
            trial.report(last["value"], step)
            if trial.should_prune():
                break
        trial.set_user_attr("last", last)
        if step < job.n_reports:
            raise optuna.TrialPruned
        return last["best"]

    # Running trials count too: exactly n_trials are begun.
    open_study(job, worker).optimize(
        objective, callbacks=[MaxTrialsCallback(job.n_trials, states=None)]
    )


def main(folder: str) -> None:
    job = read_job(folder)
    study = open_study(job, 0)
    command = [sys.executable, "-m", "tests.benchmarks.peers.optuna_processes", folder]
    workers = [subprocess.Popen([*command, str(i)]) for i in range(min(job.slots, job.n_trials))]
    if any(worker.wait() for worker in workers):
        raise SystemExit("a worker failed")
    trials = [
        {
            "value": t.user_attrs["last"]["best"],
            "ended_at": t.datetime_complete.timestamp(),
            "rows": t.user_attrs["last"]["rows"],
            "step_s": t.user_attrs["last"]["step_s"],
        }
        for t in study.trials
        if t.state.is_finished()
    ]
    write_result(job, NAME, trials)


if __name__ == "__main__":
    if len(sys.argv) > 2:
        work(read_job(sys.argv[1]), int(sys.argv[2]))
    else:
        main(sys.argv[1])
