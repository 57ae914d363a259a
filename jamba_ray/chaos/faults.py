"""Defines the faults, each of which does real harm to a running sweep or to its files."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from jamba_ray.driver.head_watch import descendants, is_alive

_HEARD_S = 0.2
_AGENTS = ("ray::DashboardAgent", "ray::RuntimeEnvAgent")
"""Processes that live a minute longer than their raylet and touch nothing of a run."""


@dataclass(frozen=True)
class Fault:
    """Describes one kind of fault."""

    name: str
    inject: Callable[[int, Path, random.Random], None]
    """Called with the driver's process number, the run folder and seeded randomness."""
    driver_survives: bool = False
    """Whether the sweep must continue by itself, without ``resume=true``."""
    exit_codes: tuple[int, ...] = (-signal.SIGKILL,)
    """How the driver may end, where it does not survive."""
    hangs: bool = False
    """Whether some trials hang by themselves."""
    said: str | None = None
    """What the run that recovers must print."""
    ends_within_s: float = 300.0
    """Seconds within which the driver ends, where it does not survive."""
    store: Literal["folder", "bucket", "missing bucket"] = "folder"
    """Where the sweep stores its results; a missing bucket must be noticed before a trial is begun,
    and exists when the sweep is started again."""
    temporary: str = ""
    """A folder, below that of the round, for ``TMPDIR``; empty: the usual one."""


def nothing(pid: int, folder: Path, rng: random.Random) -> None:
    """Does nothing: the fault is there from the start."""


def kill_driver(pid: int, folder: Path, rng: random.Random) -> None:
    """Sends SIGKILL to the driver; Ray ends what it had started."""
    os.kill(pid, signal.SIGKILL)


def kill_child(*names: str) -> Callable[[int, Path, random.Random], None]:
    """Returns a fault that sends SIGKILL to a process below the driver with one of ``names``."""

    def kill(pid: int, folder: Path, rng: random.Random) -> None:
        found = [p for p, line in descendants(pid) if any(name in line for name in names)]
        if not found:
            raise LookupError(f"no process called {names} below {pid}")
        os.kill(rng.choice(sorted(found)), signal.SIGKILL)

    return kill


def kill_runner(pid: int, folder: Path, rng: random.Random) -> None:
    """Sends SIGKILL to one runner: a Ray worker that is neither idle nor the study's server."""
    others = ("ray::IDLE", "ray::StudyServer", *_AGENTS)
    below = [(p, line) for p, line in descendants(pid) if line.startswith("ray::")]
    runners = [p for p, line in below if not line.startswith(others)]
    if not runners:
        raise LookupError(f"no runner below {pid}")
    os.kill(rng.choice(sorted(runners)), signal.SIGKILL)


def terminate(pid: int, folder: Path, rng: random.Random) -> None:
    """Sends SIGTERM, as spot drains and ``ray job stop`` do."""
    os.kill(pid, signal.SIGTERM)


def terminate_group(pid: int, folder: Path, rng: random.Random) -> None:
    """Sends SIGTERM to the driver and then to its process group, as ``timeout`` does."""
    os.kill(pid, signal.SIGTERM)
    os.killpg(pid, signal.SIGTERM)


def terminate_all(pid: int, folder: Path, rng: random.Random) -> None:
    """Sends SIGTERM to the driver and all below it, Ray included, as systemd and Slurm do."""
    for process in (pid, *(process for process, _ in descendants(pid))):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGTERM)


def pause_driver(pid: int, folder: Path, rng: random.Random) -> None:
    """Sends SIGSTOP, which acts like a machine that sleeps or a network that is cut."""
    os.kill(pid, signal.SIGSTOP)


def after_kill(
    damage: Callable[[Path, random.Random], None],
    ready: Callable[[Path], object] = lambda folder: True,
) -> Callable[[int, Path, random.Random], None]:
    """Returns a fault that kills the driver and all below it, and then damages files.

    It sends SIGKILL to all at once, as when a machine loses its power, as soon as ``ready``.
    """

    def inject(pid: int, folder: Path, rng: random.Random) -> None:
        deadline = time.monotonic() + 60
        while not ready(folder):
            if time.monotonic() > deadline:
                raise LookupError("there never was what was to be damaged")
            time.sleep(0.05)
        # Runners that live on would end their trials, which would not need the damaged files.
        below = [process for process, _ in descendants(pid)]
        for process in (pid, *below):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        while any(is_alive(p) for p in below) and time.monotonic() < deadline:
            time.sleep(0.05)
        damage(folder, rng)

    return inject


def truncate_study(folder: Path, rng: random.Random) -> None:
    """Cuts the study's file to half of its size."""
    study = folder / "study.journal"
    os.truncate(study, study.stat().st_size // 2)


def delete_study(folder: Path, rng: random.Random) -> None:
    """Deletes the study's file and leaves its copy whole."""
    (folder / "study.journal").unlink()


def flip_study(folder: Path, rng: random.Random) -> None:
    """Flips one bit in the middle of a value: the line is still JSON."""
    study = folder / "study.journal"
    content = bytearray(study.read_bytes())
    # The digit after a point is part of a value, wherever it is.
    places = [i for i in range(len(content) - 1) if content[i : i + 2] == b"0."]
    content[rng.choice(places) + 2] ^= 1
    study.write_bytes(content)


def remove_newest_checkpoint(folder: Path, rng: random.Random) -> None:
    """Deletes the newest resumable checkpoint of each trial."""
    for newest in newest_checkpoints(folder):
        shutil.rmtree(newest)


def flip_newest_checkpoint(folder: Path, rng: random.Random) -> None:
    """Flips a bit in the weights of each trial's newest resumable checkpoint."""
    for newest in newest_checkpoints(folder):
        weights = newest / "model.safetensors"
        content = bytearray(weights.read_bytes())
        content[rng.randrange(len(content) // 2, len(content))] ^= 1 << rng.randrange(8)
        weights.write_bytes(content)


def can_walk_back(folder: Path) -> bool:
    """Says whether some trial has a checkpoint older than one that its study knows of."""
    for trial in (folder / "checkpoints").glob("trial-*"):
        steps = sorted(trial.glob("step-*"))
        with contextlib.suppress(FileNotFoundError):
            if len(steps) > 1 and time.time() - steps[-1].stat().st_mtime > _HEARD_S:
                return True
    return False


def newest_checkpoints(folder: Path) -> list[Path]:
    """Returns the newest ``step-*`` of each trial that has one."""
    trials = (folder / "checkpoints").glob("trial-*")
    steps = [sorted(trial.glob("step-*")) for trial in trials]
    return [found[-1] for found in steps if found]


STOPPED_S = 20.0
"""Seconds for a stop: it takes 4 s on two idle cores, and 10 s are promised; twice that here."""
_RAY_GONE = (0, 3, 75)
"""A driver whose Ray ends can be resumed, unless it reaches its end before."""

FAULTS = (
    Fault("driver SIGKILL", kill_driver),
    Fault("StudyServer SIGKILL", kill_child("ray::StudyServer"), driver_survives=True),
    Fault("runner SIGKILL", kill_runner, driver_survives=True),
    Fault("raylet SIGKILL", kill_child("/raylet/raylet"), exit_codes=_RAY_GONE),
    Fault(
        "head SIGKILL",
        kill_child("gcs_server"),
        exit_codes=_RAY_GONE,
        ends_within_s=STOPPED_S,
        said="Ray's gcs_server on this machine stopped the sweep",
    ),
    Fault("driver SIGTERM", terminate, exit_codes=(75,), ends_within_s=STOPPED_S),
    Fault(
        "process group SIGTERM",
        terminate_group,
        exit_codes=(75,),
        ends_within_s=STOPPED_S,
        said="SIGTERM stopped the sweep with its state saved",
    ),
    Fault(
        "every process SIGTERM",
        terminate_all,
        exit_codes=(75,),
        ends_within_s=STOPPED_S,
        said="SIGTERM stopped the sweep with its state saved",
    ),
    Fault("driver paused while another takes over", pause_driver, exit_codes=(74,)),
    Fault("study torn in half", after_kill(truncate_study), said="was restored from"),
    Fault("study with one bit flipped", after_kill(flip_study), said="was restored from"),
    Fault(
        "newest checkpoint deleted",
        after_kill(remove_newest_checkpoint, can_walk_back),
        said=") is gone. It goes on from step",
    ),
    Fault(
        "newest checkpoint with one bit flipped",
        after_kill(flip_newest_checkpoint, can_walk_back),
        said="Passed over a damaged checkpoint",
    ),
    Fault(
        "study deleted, with a bucket",
        after_kill(delete_study),
        store="bucket",
        said="was restored from",
    ),
    Fault("missing bucket", nothing, exit_codes=(74,), store="missing bucket"),
    Fault("long TMPDIR", nothing, driver_survives=True, temporary="a" * 60),
    Fault("trials that hang", nothing, driver_survives=True, hangs=True),
)
