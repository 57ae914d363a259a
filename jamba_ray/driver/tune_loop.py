"""Runs Ray Tune's loop, which asks the searcher and places, reuses and replaces runners."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler

from jamba_ray.cluster.ray_private import ACTOR_CLASS, replaced
from jamba_ray.cluster.resources import RunnerPlan
from jamba_ray.config.run import SweepConfig
from jamba_ray.data.prepared import PreparedData
from jamba_ray.driver.searcher import StudySearcher
from jamba_ray.runners.runner import Fit
from jamba_ray.runners.trainable import RunnerSettings, RunnerTrainable
from jamba_ray.runs.run_folder import RunFolder
from jamba_ray.study.settings import base_config


def runner_settings(
    config: SweepConfig,
    folder: RunFolder,
    plan: RunnerPlan,
    *,
    server: str,
    node_id: str,
    n_train: int,
    stack: int,
    fit: Fit | None,
) -> RunnerSettings:
    """Returns the settings that the runners of a sweep receive.

    ``server`` is the name of its StudyServer, ``node_id`` the driver's node.
    """
    return RunnerSettings(
        server=server,
        folder=dataclasses.replace(folder, path=folder.path.resolve()),
        base=base_config(config, n_train).model_dump(mode="json"),
        threads=plan.threads,
        device=plan.device,
        node_id=node_id,
        rows=config.tracking.name != "none",
        hang_timeout_s=config.hang_timeout_s,
        patience_s=config.store_patience_s,
        workers=plan.workers,
        most_workers=plan.most_workers,
        runners=plan.runners,
        gpus=plan.gpus,
        resources=plan.resources,
        labels=plan.labels,
        stack=stack,
        trials_per_runner=config.trials_per_runner,
        measures_costs=config.measures_costs,
        fit=fit,
    )


def run_runners(
    searcher: StudySearcher,
    settings: RunnerSettings,
    data: PreparedData,
    plan: RunnerPlan,
    scratch: Path,
    *,
    local: bool,
    verbose: bool,
    stopping: Callable[[], bool],
) -> None:
    """Runs runners until the searcher ends the sweep, or until ``stopping``.

    Args:
        searcher: Gives each runner its stacks.
        settings: Settings of every runner.
        data: Rows for every trial; its tests are not sent to runners.
        plan: How many runners of which size.
        scratch: A folder for what Tune writes.
        local: Whether this process started the cluster, on this machine.
        verbose: Whether Tune prints.
        stopping: Asked after each result; True ends all.
    """
    runner, selector = plan.need, [dict(plan.labels)]
    if plan.is_group:
        # The runner itself needs none: Ray Train places CPUs and GPUs for its workers. Tune takes
        # no empty bundle.
        runner, selector = {"memory": 1_000_000}, [{}]
    selected: Any = {"bundle_label_selector": selector} if any(selector) else {}
    trainable = tune.with_parameters(
        RunnerTrainable, settings=settings, data=dataclasses.replace(data, tests={})
    )
    tuner = tune.Tuner(
        tune.with_resources(
            trainable,
            tune.PlacementGroupFactory(
                # Ray passes what it does not know on to `placement_group`.
                [runner],
                **selected,
            ),
        ),
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            scheduler=InOrder(),
            # The searcher says when it is over.
            num_samples=-1,
            reuse_actors=True,
            trial_dirname_creator=_short_name,
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(scratch),
            verbose=2 if verbose else 0,
            failure_config=tune.FailureConfig(max_failures=0),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            log_to_file=False,
            stop=_Stopper(stopping),
        ),
    )
    with _in_any_worker() if local else contextlib.nullcontext():
        tuner.fit()


@contextlib.contextmanager
def _in_any_worker() -> Iterator[None]:
    """Lets runners begin in workers that have started already (``driver.preload``).

    Tune gives its actors a runtime environment, even an empty one, and so a process of their own
    each, which costs a second of CPU time. The environment holds variables of this process, which
    every worker of a cluster that this process started has inherited.
    """

    classes: dict[type, Any] = {}

    def plain(cache: object, trainable: type) -> Any:
        if trainable not in classes:
            classes[trainable] = ray.remote(trainable)
        return classes[trainable]

    with replaced({ACTOR_CLASS: plain}):
        yield


class InOrder(FIFOScheduler):
    """Starts trials in the order in which they came; the study decides which ones stop.

    Tune's own scheduler looks at every trial that ever was, several times for each new one: two
    fifths of the driver's time at 8,000 trials (``tests/benchmarks/ten_thousand_trials.md``).
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._open: dict[str, Trial] = {}

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """Adds a trial (see Ray)."""
        self._open[trial.trial_id] = trial

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """Returns the next trial to start (see Ray)."""
        ended = (Trial.TERMINATED, Trial.ERROR)
        for name in [name for name, trial in self._open.items() if trial.status in ended]:
            del self._open[name]
        for status in (Trial.PENDING, Trial.PAUSED):
            for trial in self._open.values():
                if trial.status == status:
                    return trial
        return None


class _Stopper(tune.Stopper):
    """Ends Tune's loop where a signal's exception was lost on its way."""

    def __init__(self, stopping: Callable[[], bool]) -> None:
        self._stopping = stopping

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Returns False: trials end by themselves."""
        return False

    def stop_all(self) -> bool:
        """Says whether a signal came."""
        return self._stopping()


def _short_name(trial: Any) -> str:
    return str(trial.trial_id)
