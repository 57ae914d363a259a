"""Computes how many runners fit and how many threads each gets, and explains it in a sentence."""

from __future__ import annotations

import glob
import math
import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from jamba_ray.config.placement import range_of
from jamba_ray.config.run import SweepConfig
from jamba_ray.errors import UnavailableError


@dataclass(frozen=True)
class Machine:
    """Holds the CPUs and GPUs of one machine or of a whole cluster."""

    cpus: int
    gpus: int = 0

    @property
    def words(self) -> str:
        """Returns the resources as text, such as ``2 CPUs and no GPU``."""
        gpus = {0: "no GPU", 1: "1 GPU"}.get(self.gpus, f"{self.gpus} GPUs")
        return f"{self.cpus} CPU{'s' if self.cpus != 1 else ''} and {gpus}"


@dataclass(frozen=True)
class RunnerPlan:
    """Holds how many runners run at a time and what each may use."""

    runners: int
    threads: int
    """Intra-op threads per worker, and CPUs that Ray reserves for it."""
    gpus: float
    """GPUs per worker; a fraction where runners share one."""
    workers: int
    """Processes per runner, at least; 1: the runner trains in its own process."""
    sentence: str
    """``2 runners x 1 CPU thread``, and why fewer than asked for, if so."""
    most_workers: int = 0
    """Most processes per runner, where the cluster has room; 0: ``workers``."""
    resources: Mapping[str, float] = field(default_factory=dict)
    """Custom resources that Ray reserves for each worker."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Labels that the node of each worker must have."""

    @property
    def is_group(self) -> bool:
        """Says whether a runner's trials may have several processes."""
        return max(self.workers, self.most_workers) > 1

    @property
    def need(self) -> dict[str, float]:
        """Returns what Ray reserves for each worker."""
        own = {"CPU": float(self.threads), "GPU": self.gpus, **self.resources}
        return {name: amount for name, amount in own.items() if amount}

    @property
    def notes(self) -> tuple[str, ...]:
        """Returns the sentence, where it says something that was not asked for."""
        return (self.sentence,) if "asked for" in self.sentence else ()

    @property
    def device(self) -> str:
        """Returns the torch device of a runner."""
        return "cuda" if self.gpus > 0 else "cpu"


def this_machine(gpus: int = 0) -> Machine:
    """Returns the CPUs that this process may use (affinity, cgroup quota) and ``gpus`` GPUs."""
    cpus = float(len(os.sched_getaffinity(0)))
    quota = _cgroup_quota()
    return Machine(max(1, int(min(cpus, quota or cpus))), gpus)


def count_gpus() -> int:
    """Returns the GPUs that torch can use, because torch trains on them.

    Torch knows the meaning of CUDA_VISIBLE_DEVICES (``NoDevFiles``: none), and may be built without
    CUDA or for a newer driver than there is.
    """
    import torch  # a second that machines without it need not pay

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a driver that is too old
        return torch.cuda.device_count() if torch.cuda.is_available() else 0


def gpu_mistake() -> str | None:
    """Returns why torch can use no GPU although a GPU's driver is loaded.

    None if it can, if there is no GPU, or if CUDA_VISIBLE_DEVICES hides it.
    """
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    if not glob.glob("/proc/driver/nvidia/gpus/*") or hidden is not None or count_gpus():
        return None
    import torch

    if torch.version.cuda is None:
        return f"torch {torch.__version__} is built without CUDA"
    try:
        torch.cuda.init()  # type: ignore[no-untyped-call]
    except Exception as error:
        return str(error).strip().splitlines()[0]
    return None


def plan_runners(
    machine: Machine,
    *,
    max_concurrent: int | None = None,
    workers_per_trial: int = 1,
    n_trials: int | None = None,
    setting: str = "workers_per_trial",
    cpus: int | None = None,
    gpus: float | None = None,
) -> RunnerPlan:
    """Divides ``machine`` into runners: one per GPU, or one per CPU where there is no GPU.

    On CPUs each runner has one thread, because runners that spin on each other's barriers are many
    times slower than runners that do not share a core (36x measured on a busy 2-core machine); a
    runner gets more only when there are CPUs to spare. On GPUs ``max_concurrent`` may ask for
    several runners per GPU. ``setting`` is the user's name of ``workers_per_trial``. ``cpus`` and
    ``gpus`` are those that each worker is to have; None: as above.

    Raises:
        UnavailableError: Not even one runner fits.
    """
    if gpus == 0.0:
        machine = Machine(machine.cpus)
    elif gpus is not None and not machine.gpus:
        raise UnavailableError(
            f"`gpus_per_trial` must be 0 here, but is {gpus:g}: there are {machine.words}. Drop it."
        )
    unit, units = ("GPU", machine.gpus) if machine.gpus else ("CPU", machine.cpus)
    if workers_per_trial > units:
        raise UnavailableError(
            f"`{setting}` must be at most {units}, but is {workers_per_trial}: "
            f"there are {machine.words} and each worker needs one {unit}. Lower it."
        )
    if gpus and machine.gpus:
        units *= math.floor(1 / gpus + 1e-9)
    fitting = units // workers_per_trial
    if machine.gpus and workers_per_trial == 1 and gpus is None:
        # Small models leave most of a GPU idle, so runners may share one, as many as there are
        # CPUs.
        fitting = max(fitting, machine.cpus)
    if cpus is not None:
        fitting = min(fitting, machine.cpus // (cpus * workers_per_trial))
        if not fitting:
            raise UnavailableError(
                f"`cpus_per_trial` must be at most {machine.cpus // workers_per_trial} here, but "
                f"is {cpus}: there are {machine.words}. Lower it."
            )
    wanted = max_concurrent or (fitting if cpus is not None else units // workers_per_trial)
    runners = min(wanted, fitting, n_trials or wanted)
    threads = cpus or max(1, machine.cpus // (runners * workers_per_trial))
    share = _gpu_share(machine.gpus, runners, workers_per_trial) if machine.gpus else 0.0
    gpus = gpus if gpus and machine.gpus else share
    return RunnerPlan(
        runners=runners,
        threads=threads,
        gpus=gpus,
        workers=workers_per_trial,
        sentence=_sentence(runners, threads, gpus, workers_per_trial, wanted, fitting, machine),
    )


def plan_for(config: SweepConfig, machine: Machine) -> RunnerPlan:
    """Returns the runners of a sweep on ``machine``, placed as its settings say.

    Raises:
        UnavailableError: Not even one runner fits.
    """
    workers = range_of(config.workers_per_trial)
    gpus = config.gpus_per_trial
    units = machine.gpus if machine.gpus and gpus != 0.0 else machine.cpus
    # As large as may be for a start; where the cluster has less room, down to the least.
    most = max(workers.least, min(workers.most, units // (config.max_concurrent or 1)))
    plan = plan_runners(
        machine,
        max_concurrent=config.max_concurrent,
        workers_per_trial=most if units >= workers.least else workers.least,
        n_trials=config.n_trials,
        cpus=config.cpus_per_trial,
        gpus=gpus,
    )
    if workers.most > workers.least:
        plan = replace(plan, workers=workers.least, most_workers=workers.most)
    return replace(plan, resources=config.resources, labels=config.labels)


def check_custom(plan: RunnerPlan, has: Mapping[str, float]) -> None:
    """Refuses custom resources of which a cluster that does not grow ``has`` too little.

    Raises:
        UnavailableError: With the resources that there are.
    """
    for name, amount in plan.resources.items():
        if has.get(name, 0.0) + 1e-9 < amount:
            usual = ("CPU", "GPU", "memory", "object_store_memory")
            own = [n for n in has if n not in usual and not n.startswith("node:")]
            known = ", ".join(sorted(own)) or "none"
            raise UnavailableError(
                f"`resources` must be of the cluster, but it has {has.get(name, 0.0):g} of "
                f"{name!r} where a runner takes {amount:g} (custom resources there: {known}). "
                "Drop it, or run on a cluster that has it."
            )


def elastic_workers(places: int, runners: int, least: int, most: int) -> int:
    """Returns the workers that a trial begins with where the cluster has ``places`` for workers of
    ``runners`` trials: its share of them, from ``least`` to ``most``."""
    return max(least, min(most, places // max(1, runners)))


def _gpu_share(gpus: int, runners: int, workers: int) -> float:
    if runners * workers <= gpus:
        return 1.0
    # Runners per GPU, rounded up, so that the fractions on one GPU never exceed 1.
    return math.floor(1000 / math.ceil(runners * workers / gpus)) / 1000


def _sentence(
    runners: int,
    threads: int,
    gpus: float,
    workers: int,
    wanted: int,
    fitting: int,
    machine: Machine,
) -> str:
    parts = [f"{runners} runner{'s' if runners != 1 else ''}"]
    if workers > 1:
        parts.append(f"{workers} workers")
    if gpus:
        parts.append("1 GPU" if gpus == 1.0 else f"{gpus:g} GPU")
    else:
        parts.append(f"{threads} CPU thread{'s' if threads != 1 else ''}")
    sentence = " x ".join(parts)
    if wanted > fitting:
        sentence += f" ({wanted} asked for, but there are {machine.words}: {fitting} fit)"
    return sentence


def _cgroup_quota() -> float | None:
    """Returns the CPUs granted by cgroup v2; None: unlimited or unknown."""
    try:
        with open("/sys/fs/cgroup/cpu.max", encoding="ascii") as file:
            quota, period = file.read().split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        return None
