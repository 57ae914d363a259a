"""The documented recipe, "Hyperparameter Tuning with Ray Tune" of Ray Train's user guide: a Tune
trial's function launches a ``TorchTrainer``, whose reports go on to Tune (``TuneReportCallback``).

    python -m tests.benchmarks.peers.tune_train FOLDER

Tuned: the guide's ``max_concurrent_trials`` and its own resource for the functions that only drive;
Ray Train asks its workers every 0.2 s, not every 2 s; Tune's loggers and display are off; no
checkpoints are written. Train's cleaner of stopped trials needs the dashboard.
"""

from __future__ import annotations

import os
import socket
import sys
from dataclasses import asdict
from typing import Any

from tests.benchmarks.peers.job import Job, read_data, read_job
from tests.benchmarks.peers.tune_function import QUIET, tuner, write_results

NAME = "tune_train"
DRIVER = "TRAIN_DRIVER_RESOURCE"


def train_fn_per_worker(train_loop_config: dict[str, Any]) -> None:
    import ray.train
    import ray.train.torch

    from tests.benchmarks.peers import eager

    job = Job(**train_loop_config["job"])
    config = job.config_of(train_loop_config["params"])
    for report in eager.train(
        config,
        read_data(job.folder),
        job.n_reports,
        device=job.device,
        threads=job.threads,
        prepare=ray.train.torch.prepare_model,
    ):
        ray.train.report(report)


def train_driver_fn(config: dict[str, Any], job: Job) -> None:
    import ray.train
    import ray.train.torch
    import ray.tune
    from ray.tune.integration.ray_train import TuneReportCallback

    context = ray.tune.get_context()
    trainer = ray.train.torch.TorchTrainer(
        train_fn_per_worker,
        train_loop_config={
            "job": asdict(job),
            "params": config,
        },
        scaling_config=ray.train.ScalingConfig(
            num_workers=1, use_gpu=job.gpus > 0, resources_per_worker=job.resources
        ),
        run_config=ray.train.RunConfig(
            name=f"train-trial_id={context.get_trial_id()}",
            storage_path=f"{job.folder}/train",
            callbacks=[TuneReportCallback()],
        ),
    )
    trainer.fit()


def main(folder: str) -> None:
    os.environ.update(QUIET, RAY_TRAIN_V2_ENABLED="1", RAY_TRAIN_HEALTH_CHECK_INTERVAL_S="0.2")
    _name_the_cluster()
    import ray
    from ray import tune

    job = read_job(folder)
    ray.init(
        address="local",
        num_cpus=job.cpus,
        num_gpus=job.gpus,
        resources={DRIVER: float(job.slots)},
        log_to_driver=False,
    )
    trainable = tune.with_resources(
        tune.with_parameters(train_driver_fn, job=job), {"CPU": 0, DRIVER: 1.0}
    )
    write_results(job, NAME, tuner(job, trainable, reuse_actors=False).fit())
    ray.shutdown()


def _name_the_cluster() -> None:
    """Train's cleaner looks for "the" Ray of the machine: where there are several, it must be told
    which, or the workers of a trial that ASHA stopped are never freed and the sweep starves."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    os.environ["RAY_GCS_SERVER_PORT"] = str(port)
    os.environ["RAY_ADDRESS"] = f"127.0.0.1:{port}"


if __name__ == "__main__":
    main(sys.argv[1])
