"""Starts the Ray Train V2 ``TorchTrainer`` of a group and restarts its ranks when they die."""

from __future__ import annotations

import os
from typing import Any

import ray
from ray import train
from ray.train.torch import TorchConfig, TorchTrainer
from ray.train.v2._internal.callbacks.placement_group_callback import (
    PlacementGroupCleanerCallback,
)
from ray.train.v2._internal.exceptions import WorkerGroupStartupTimeoutError
from ray.train.v2._internal.execution.failure_handling import FailureDecision, FailurePolicy
from ray.train.v2._internal.execution.failure_handling.default import _is_preemption_failure
from ray.train.v2._internal.execution.scaling_policy import FixedScalingPolicy
from ray.train.v2.api.config import FailureConfig
from ray.train.v2.api.exceptions import ControllerError, TrainingFailedError

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


def run_trainer(
    queue: Any,
    folder: RunFolder,
    scratch: str,
    *,
    workers: int,
    threads: int,
    gpus: float,
    patience_s: float,
) -> None:
    """Starts ranks that work for ``queue``, again where they die; returns when the queue closes.

    Raises:
        TrainingFailedError: The ranks cannot be started.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    _Trainer(
        queue,
        run_rank,
        train_loop_config={
            "queue": queue,
            "folder": folder,
            "threads": threads,
            "patience_s": patience_s,
        },
        torch_config=TorchConfig(backend="nccl" if gpus else "gloo"),
        scaling_config=train.ScalingConfig(
            num_workers=workers,
            use_gpu=gpus > 0,
            resources_per_worker={"CPU": threads, **({"GPU": gpus} if gpus else {})},
        ),
        run_config=train.RunConfig(name="group", storage_path=scratch),
    ).fit()


def found_no_place(error: BaseException | None) -> bool:
    """Says whether ``error`` of ``run_trainer`` means that the cluster had no room for ranks."""
    return isinstance(error, ControllerError) and isinstance(
        error.controller_failure, WorkerGroupStartupTimeoutError
    )


class _Restarts(FailurePolicy):
    """Restarts dead ranks in the running controller (a new one costs five seconds).

    The runner decides what becomes of the trial: only it knows whether the trial or a machine is at
    fault.
    """

    def __init__(self, queue: Any) -> None:
        super().__init__(FailureConfig())
        self._queue = queue

    def make_decision(self, training_failed_error: TrainingFailedError) -> FailureDecision:
        if isinstance(training_failed_error, ControllerError):
            return FailureDecision.RAISE
        preempted = _is_preemption_failure(training_failed_error)
        try:
            start = ray.get(self._queue.died.remote(preempted), timeout=_ANSWER_S)
        except ray.exceptions.RayError:
            return FailureDecision.RAISE  # the runner is gone
        return FailureDecision.RETRY if start else FailureDecision.RAISE


class _Scaling(FixedScalingPolicy):
    """Scales without the actor that divides a cluster between Ray Train and Ray Data.

    That actor takes seconds to start and stays on the cluster for ever. Waiting placement groups
    ask the autoscaler as well.
    """

    def after_controller_start(self, train_run_context: Any) -> None:
        """Does nothing: there is no such actor to register with."""

    def _maybe_send_resource_request(self) -> None:
        """Does nothing: there is no such actor to ask."""


class _Trainer(TorchTrainer):
    """Runs without Ray Train's cleaner of placement groups, which would be left behind.

    The cleaner asks the State API, which needs the dashboard and finds the wrong cluster where two
    share a host. Our groups end by themselves, and a controller that dies takes its placement group
    along.
    """

    def __init__(self, queue: Any, loop: Any, **options: Any) -> None:
        super().__init__(loop, **options)
        self._queue = queue

    def _initialize_and_run_controller(self, **parts: Any) -> Any:
        parts["scaling_policy"] = _Scaling(self.scaling_config)  # type: ignore[arg-type]
        parts["failure_policy"] = _Restarts(self._queue)
        return super()._initialize_and_run_controller(**parts)  # type: ignore[misc]

    def _create_default_callbacks(self) -> list[Any]:
        callbacks: list[Any] = super()._create_default_callbacks()  # type: ignore[misc]
        return [c for c in callbacks if not isinstance(c, PlacementGroupCleanerCallback)]
