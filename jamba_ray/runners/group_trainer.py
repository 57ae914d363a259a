"""Starts the Ray Train V2 ``TorchTrainer`` of a group and restarts its ranks when they die."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import ray
from ray import train
from ray.exceptions import RayActorError, RayError
from ray.train import ControllerError, PreemptionError, TrainingFailedError, WorkerGroupError
from ray.train.torch import TorchConfig, TorchTrainer

from jamba_ray.cluster.ray_private import (
    AFTER_START,
    FAILURE_DECISION,
    GROUP_CLEANER,
    MAKE_DECISION,
    REQUEST_RESOURCES,
    RUN_CONTROLLER,
    START_TIMEOUT,
    override,
)
from jamba_ray.runners.group_rank import run_rank
from jamba_ray.runs.run_folder import RunFolder

PLACE_TIMEOUT_S = 600.0
"""Seconds for which a group waits for CPUs or GPUs: a cloud needs minutes to replace a machine that
it took away."""
_ENVIRONMENT = {
    # A rank that died, or a machine that will be taken away, is noticed within a second.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "1",
    "RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S": "1",
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": str(PLACE_TIMEOUT_S),
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_TRAIN_ENABLE_CONTROLLER_STRUCTURED_LOGGING": "0",
    "RAY_TRAIN_ENABLE_WORKER_STRUCTURED_LOGGING": "0",
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
    "RAY_TRAIN_ENABLE_STATE_TRACKING": "0",
}
_ANSWER_S = 30.0


@dataclass(frozen=True)
class RankSize:
    """Holds what each rank of a group takes of its node."""

    threads: int = 1
    gpus: float = 0.0
    resources: dict[str, float] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)

    @property
    def need(self) -> dict[str, float]:
        """Returns the resources that Ray reserves for it."""
        own = {"CPU": float(self.threads), "GPU": self.gpus, **self.resources}
        return {name: amount for name, amount in own.items() if amount}


def run_trainer(
    queue: Any,
    folder: RunFolder,
    scratch: str,
    *,
    workers: int,
    rank: RankSize,
    restarts: bool = True,
    patience_s: float,
) -> None:
    """Starts ranks that work for ``queue``, again where they die unless ``restarts`` is False;
    returns when the queue closes.

    Raises:
        TrainingFailedError: The ranks cannot be started.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    scaling: Any = train.ScalingConfig  # Ray declares the one of Train V1
    trainer = TorchTrainer(
        run_rank,
        train_loop_config={
            "queue": queue,
            "folder": folder,
            "threads": rank.threads,
            "patience_s": patience_s,
        },
        torch_config=TorchConfig(backend="nccl" if rank.gpus else "gloo"),
        scaling_config=scaling(
            num_workers=workers,
            use_gpu=rank.gpus > 0,
            resources_per_worker=rank.need,
            label_selector=rank.labels or None,
        ),
        run_config=train.RunConfig(name="group", storage_path=scratch),
    )
    override(trainer, RUN_CONTROLLER, lambda run: partial(_run_controller, run, queue, restarts))
    trainer.fit()


def found_no_place(error: BaseException | None) -> bool:
    """Says whether ``error`` of ``run_trainer`` means that the cluster had no room for ranks."""
    timeout = START_TIMEOUT.find()
    return (
        timeout is not None
        and isinstance(error, ControllerError)
        and isinstance(error.controller_failure, timeout)
    )


def _run_controller(
    run: Callable[..., Any], queue: Any, restarts: bool = True, **parts: Any
) -> Any:
    """Runs the controller of Ray Train with three of its parts changed.

    - It starts ranks in place of those that died: a new controller costs five seconds.
    - It goes without the actor that divides a cluster between Ray Train and Ray Data, which costs
      seconds to start and stays on the cluster. Placement groups that wait ask the autoscaler too.
    - It leaves nothing behind. Ray Train's cleaner of placement groups does: it asks the State API,
      which needs the dashboard and finds the wrong cluster where two share a host. Our groups end
      by themselves, and a controller that dies takes its placement group along.
    """
    if FAILURE_DECISION.find() is not None:
        override(
            parts.get("failure_policy"), MAKE_DECISION, lambda _: partial(_decide, queue, restarts)
        )
    for name in (AFTER_START, REQUEST_RESOURCES):
        override(parts.get("scaling_policy"), name, lambda _: _nothing)
    if (cleaner := GROUP_CLEANER.find()) is not None:
        parts["callbacks"] = [c for c in parts["callbacks"] if not isinstance(c, cleaner)]
    return run(**parts)


def _decide(queue: Any, restarts: bool, training_failed_error: TrainingFailedError) -> Any:
    """Decides whether ranks that died are started again, as many as before.

    The runner decides what becomes of the trial: only it knows whether the trial or a machine is at
    fault.
    """
    decision = FAILURE_DECISION.find()
    if isinstance(training_failed_error, ControllerError):
        return decision.RAISE
    try:
        start = ray.get(queue.died.remote(was_preempted(training_failed_error)), timeout=_ANSWER_S)
    except RayError:
        return decision.RAISE  # the runner is gone
    return decision.RETRY if start and restarts else decision.RAISE


def was_preempted(error: TrainingFailedError) -> bool:
    """Says whether a machine was taken away, whatever the other ranks raised for want of it."""
    if isinstance(error, PreemptionError):
        return True
    if not isinstance(error, WorkerGroupError):
        return False
    causes = (getattr(e, "health_check_failure", e) for e in error.worker_failures.values())
    return any(isinstance(cause, RayActorError) and cause.preempted for cause in causes)


def _nothing(*_: object) -> None:
    """Does nothing: there is nobody to register with."""
