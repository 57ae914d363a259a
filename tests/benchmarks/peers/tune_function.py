"""Ray Tune with a function trainable: OptunaSearch, ASHAScheduler, eager PyTorch in the trial.

    python -m tests.benchmarks.peers.tune_function FOLDER

Tuned: actors are reused, Tune's own loggers and display are off, rows cross once through the object
store (``tune.with_parameters``), one thread a trial, no dashboard.
"""

from __future__ import annotations

import os
import sys
from functools import partial
from typing import Any

from tests.benchmarks.peers.job import Job, read_data, read_job, sampler, suggest, write_result

NAME = "tune_function"
QUIET = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",
    "TUNE_WARN_THRESHOLD_S": "1000000",
}


def trial(config: dict[str, Any], data: Any, job: Job) -> None:
    from ray import tune

    from tests.benchmarks.peers.eager import train

    steps = train(
        job.config_of(config), data, job.n_reports, device=job.device, threads=job.threads
    )
    for report in steps:
        tune.report(report)


def tuner(job: Job, trainable: Any, *, reuse_actors: bool) -> Any:
    """What both of Ray's peers share."""
    from ray import tune
    from ray.tune.schedulers import ASHAScheduler
    from ray.tune.search.optuna import OptunaSearch

    return tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            search_alg=OptunaSearch(
                space=partial(_space, space=job.space),
                metric="value",
                mode="max",
                sampler=sampler(job, job.seed),
            ),
            scheduler=ASHAScheduler(
                time_attr="training_iteration",
                metric="value",
                mode="max",
                max_t=job.n_reports,
                grace_period=job.first_rung,
                reduction_factor=job.reduction_factor,
            ),
            num_samples=job.n_trials,
            max_concurrent_trials=job.slots,
            reuse_actors=reuse_actors,
        ),
        run_config=tune.RunConfig(name="tune", storage_path=f"{job.folder}/ray", verbose=0),
    )


def _space(trial: Any, space: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """What is returned becomes constants of the trial's configuration."""
    suggest(trial, space)
    return {"number": trial.number}


def write_results(job: Job, peer: str, results: Any) -> None:
    """From what each trial told last."""
    if results.errors:
        raise SystemExit(f"{len(results.errors)} trials failed: {results.errors[0]}")
    trials = [
        {
            "value": r.metrics["best"],
            "ended_at": r.metrics["at"],
            "rows": r.metrics["rows"],
            "step_s": r.metrics["step_s"],
        }
        for r in results
    ]
    write_result(job, peer, trials)


def main(folder: str) -> None:
    os.environ.update(QUIET)
    import ray
    from ray import tune

    job = read_job(folder)
    ray.init(
        address="local",
        num_cpus=job.cpus,
        num_gpus=job.gpus,
        include_dashboard=False,
        log_to_driver=False,
    )
    trainable = tune.with_parameters(trial, data=read_data(folder), job=job)
    found = tuner(job, tune.with_resources(trainable, job.resources), reuse_actors=True).fit()
    write_results(job, NAME, found)
    ray.shutdown()


if __name__ == "__main__":
    main(sys.argv[1])
