"""Computes how many runners fit and how many threads each gets, and explains it in a sentence."""

from __future__ import annotations

import glob
import math
import os
import warnings
from dataclasses import dataclass

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
    """Processes per runner; 1: the runner trains in its own process."""
    sentence: str
    """``2 runners x 1 CPU thread``, and why fewer than asked for, if so."""

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
) -> RunnerPlan:
    """Divides ``machine`` into runners: one per GPU, or one per CPU where there is no GPU.

    On CPUs each runner has one thread, because runners that spin on each other's barriers are many
    times slower than runners that do not share a core (36x measured on a busy 2-core machine); a
    runner gets more only when there are CPUs to spare. On GPUs ``max_concurrent`` may ask for
    several runners per GPU. ``setting`` is the user's name of ``workers_per_trial``.

    Raises:
        UnavailableError: Not even one runner fits.
    """
    unit, units = ("GPU", machine.gpus) if machine.gpus else ("CPU", machine.cpus)
    if workers_per_trial > units:
        raise UnavailableError(
            f"`{setting}` must be at most {units}, but is {workers_per_trial}: "
            f"there are {machine.words} and each worker needs one {unit}. Lower it."
        )
    fitting = units // workers_per_trial
    if machine.gpus and workers_per_trial == 1:
        # Small models leave most of a GPU idle, so runners may share one, as many as there are
        # CPUs.
        fitting = max(fitting, machine.cpus)
    wanted = max_concurrent or units // workers_per_trial
    runners = min(wanted, fitting, n_trials or wanted)
    threads = max(1, machine.cpus // (runners * workers_per_trial))
    gpus = _gpu_share(machine.gpus, runners, workers_per_trial) if machine.gpus else 0.0
    return RunnerPlan(
        runners=runners,
        threads=threads,
        gpus=gpus,
        workers=workers_per_trial,
        sentence=_sentence(runners, threads, gpus, workers_per_trial, wanted, fitting, machine),
    )


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
