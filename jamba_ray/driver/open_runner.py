"""Opens one runner for one training: in this process, or a group within a Ray session."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import replace

from jamba_ray.cluster.resources import Machine, RunnerPlan, plan_runners, this_machine
from jamba_ray.data.prepared import PreparedData
from jamba_ray.driver.ray_session import ray_session
from jamba_ray.errors import StorageError
from jamba_ray.runners.runner import Fit, Runner
from jamba_ray.runs.run_folder import RunFolder
from jamba_ray.training import fit


@contextlib.contextmanager
def open_runner(
    folder: RunFolder,
    data: PreparedData,
    *,
    workers: int = 1,
    gpus: int = 0,
    rows: bool = True,
    verbose: bool = False,
    started: Callable[[], object] = lambda: None,
    alone: Fit = fit,
    note: Callable[[str], object] = lambda sentence: None,
) -> Iterator[Runner]:
    """Opens a runner of ``workers`` processes; with one worker Ray is never started.

    Args:
        folder: The run.
        data: Rows of every trial.
        workers: Processes that share each batch.
        gpus: GPUs of this machine.
        rows: Whether each report is written to the run's local rows.
        verbose: Whether Ray prints.
        started: Called once Ray runs, because Ray replaces the signal handlers.
        alone: The ``fit`` that trains with one worker.
        note: Called with each sentence for the summary.

    Raises:
        UnavailableError: There are fewer CPUs (or GPUs, where there are any) than workers.
    """
    here, store = this_machine(gpus), folder.checkpoint_store()

    def tidy(trial: int, step: int) -> None:
        # In a sweep the driver does it. What cannot be deleted costs space, not the training.
        with contextlib.suppress(StorageError):
            store.retain(best=(), finished=())

    if workers == 1:
        plan = _plan(here, 1)
        yield Runner(
            folder,
            data,
            threads=plan.threads,
            device=plan.device,
            rows=rows,
            fit=alone,
            note=note,
            saved=tidy,
        )
        return
    # On a machine of its own the answer is known before Ray is started.
    if os.environ.get("RAY_ADDRESS") in (None, "", "local"):
        _plan(here, workers)
    with ray_session(verbose=verbose, machine=here) as session:
        from jamba_ray.runners.group import Group

        started()
        plan = _plan(session.machine, workers)
        absolute = replace(folder, path=folder.path.resolve())
        group = Group(
            absolute,
            workers=workers,
            threads=plan.threads,
            gpus=plan.gpus,
            note=note,
            saved=tidy,
        )
        try:
            yield Runner(
                folder,
                data,
                threads=plan.threads,
                device=plan.device,
                rows=rows,
                fit=group.fit,
                note=note,
                saved=tidy,
            )
        except BaseException:
            group.abort()
            raise
        group.close()


def _plan(machine: Machine, workers: int) -> RunnerPlan:
    return plan_runners(machine, max_concurrent=1, workers_per_trial=workers, setting="workers")
