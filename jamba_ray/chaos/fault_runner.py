"""Runs a sweep, injects one fault at a seeded moment, and runs the sweep to its end."""

from __future__ import annotations

import contextlib
import math
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from jamba_ray.chaos.checker import Verdict, check
from jamba_ray.chaos.faults import Fault
from jamba_ray.chaos.history import History
from jamba_ray.chaos.s3_server import CREDENTIALS, make_bucket, s3_server
from jamba_ray.chaos.subject import STEP_S
from jamba_ray.runners.runner import SAVE_EVERY_S
from jamba_ray.study.lease import STALE_S

INTERVAL_STEPS = math.ceil(SAVE_EVERY_S / STEP_S) + 1
"""Steps between two checkpoints of a trial, and the one during which it was killed."""
_PATIENCE_S = 300.0
_GOOD = (0, 3)


@dataclass(frozen=True)
class Round:
    """Holds one row of the table."""

    fault: str
    injected: int
    recovered: int
    seconds: float | None
    """Seconds from the fault to the next acknowledged step; the slowest."""
    of_them_ours: float | None
    """Seconds from Ray's restart to that step; the slowest. None where Ray was not restarted."""
    verdict: Verdict


@dataclass(frozen=True)
class Wait:
    """Holds how long one fault kept the sweep from continuing."""

    seconds: float
    since_ray: float | None = None
    """Those after Ray was up again, where it was restarted."""


class Sweep:
    """Runs a sweep in ``folder`` that can be started again and again."""

    def __init__(
        self, folder: Path, n_trials: int, seed: int, fault: Fault, endpoint: str | None
    ) -> None:
        self._folder, self._n, self._seed, self._fault = folder, n_trials, seed, fault
        self._endpoint = endpoint
        self._started: list[subprocess.Popen[bytes]] = []
        self.history = History(folder.parent / "history.jsonl")
        self.output = folder.parent / "output.txt"

    def start(self) -> subprocess.Popen[bytes]:
        """Starts the sweep, or continues it."""
        command = [sys.executable, "-m", "jamba_ray.chaos.subject", str(self._folder)]
        command += ["--trials", str(self._n), "--seed", str(self._seed)]
        command += ["--hangs"] if self._fault.hangs else []
        command += [f"--bucket={self._endpoint}"] if self._endpoint else []
        environment = {**os.environ, **(CREDENTIALS if self._endpoint else {})}
        if self._fault.temporary:
            temporary = self._folder.parent.absolute() / self._fault.temporary
            temporary.mkdir(exist_ok=True)
            environment["TMPDIR"] = str(temporary)
        with open(self.output, "ab") as output:
            process = subprocess.Popen(
                command,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                # A fault may signal the whole process group, which must not be this one.
                process_group=0,
            )
        self._started.append(process)
        return process

    def end(self) -> None:
        """Kills the processes that still run, as where the round is interrupted."""
        for process in self._started:
            if process.poll() is None:
                process.kill()


def run_round(folder: Path, fault: Fault, *, times: int, n_trials: int, seed: int) -> Round:
    """Runs a whole sweep with ``times`` injections of one fault and judges it."""
    broken: list[str] = []
    with contextlib.ExitStack() as stack:
        endpoint = None if fault.store == "folder" else stack.enter_context(s3_server())
        folder.parent.mkdir(parents=True, exist_ok=True)
        sweep = Sweep(folder, n_trials, seed, fault, endpoint)
        stack.callback(sweep.end)
        if fault.store == "missing bucket":
            broken = _refused(sweep, fault)
        if endpoint is not None:
            make_bucket(endpoint)
        return _run_round(folder, fault, sweep, broken, times=times, n_trials=n_trials, seed=seed)


def _run_round(
    folder: Path,
    fault: Fault,
    sweep: Sweep,
    broken: list[str],
    *,
    times: int,
    n_trials: int,
    seed: int,
) -> Round:
    rng = random.Random(f"{seed} {fault.name}")
    waits: list[Wait] = []
    running = sweep.start()
    injected = recovered = 0
    for _ in range(times):
        if not _wait_for_work(sweep, running, rng, n_trials):
            break
        injected += 1
        try:
            sweep.history.note("fault", kind=fault.name)
            since = time.time()
            fault.inject(running.pid, folder, rng)
            running, problem = _go_on(sweep, running, fault)
        except (LookupError, subprocess.TimeoutExpired) as error:
            broken.append(str(error))
            break
        broken += problem
        survived = fault.driver_survives or fault.store == "missing bucket"
        if (wait := _next_step(sweep, running, since, survived=survived)) is not None:
            recovered += 1
            waits.append(wait)
    broken += _to_the_end(sweep, running, folder)
    if fault.said and fault.said not in sweep.output.read_text():
        broken.append(f"the run that recovered did not say {fault.said!r}")
    interval = INTERVAL_STEPS * (2 if "newest checkpoint" in fault.name else 1)
    verdict = check(sweep.history.events(), folder / "study.journal", n_trials, interval)
    verdict = Verdict((*broken, *verdict.broken), verdict.redone, verdict.most_redone)
    return Round(
        fault.name,
        injected,
        recovered,
        max((w.seconds for w in waits), default=None),
        max((w.since_ray for w in waits if w.since_ray is not None), default=None),
        verdict,
    )


def _refused(sweep: Sweep, fault: Fault) -> list[str]:
    """Checks that a store that cannot be written is noticed before anything is trained."""
    code = sweep.start().wait(timeout=_PATIENCE_S)
    wrong = [] if code in fault.exit_codes else [f"without its store the driver ended with {code}"]
    if any(event.name == "begin" for event in sweep.history.events()):
        wrong.append("a trial was begun without a store")
    return wrong


def _wait_for_work(
    sweep: Sweep, running: subprocess.Popen[bytes], rng: random.Random, n_trials: int
) -> bool:
    """Waits until this start of the sweep works and a seeded time longer; False: it ended."""
    before = len(_steps(sweep))
    more = rng.randint(3, 8)
    deadline = time.monotonic() + _PATIENCE_S
    while len(_steps(sweep)) < before + more and running.poll() is None:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    time.sleep(rng.random() * STEP_S)
    return running.poll() is None


def _go_on(
    sweep: Sweep, running: subprocess.Popen[bytes], fault: Fault
) -> tuple[subprocess.Popen[bytes], list[str]]:
    """Returns the process that runs the sweep after the fault, and what went wrong meanwhile."""
    if fault.driver_survives or fault.store == "missing bucket":
        return running, []
    if fault.name.startswith("driver paused"):
        return _taken_over(sweep, running, fault)
    code = running.wait(timeout=fault.ends_within_s)
    wrong = [] if code in fault.exit_codes else [f"the driver ended with {code}"]
    return sweep.start(), wrong


def _taken_over(
    sweep: Sweep, paused: subprocess.Popen[bytes], fault: Fault
) -> tuple[subprocess.Popen[bytes], list[str]]:
    """Checks that a second driver gets the lease once it is stale, and not before.

    The first driver, resumed, must find that it lost the lease, and stop.
    """
    wrong = []
    if (code := sweep.start().wait(timeout=_PATIENCE_S)) != 73:
        wrong.append(f"a second driver ended with {code} while the first one held the lease")
    time.sleep(STALE_S)
    second = sweep.start()
    deadline = time.monotonic() + _PATIENCE_S
    ups = sum(e.name == "up" for e in sweep.history.events())
    while sum(e.name == "up" for e in sweep.history.events()) == ups:
        if second.poll() is not None or time.monotonic() > deadline:
            wrong.append("the stale lease was not taken over")
            break
        time.sleep(0.1)
    os.kill(paused.pid, signal.SIGCONT)
    code = paused.wait(timeout=_PATIENCE_S)
    if code not in fault.exit_codes:
        wrong.append(f"the driver that lost its lease ended with {code}")
    return second, wrong


def _next_step(
    sweep: Sweep, running: subprocess.Popen[bytes], since: float, *, survived: bool
) -> Wait | None:
    """Measures the time from ``since`` to the first step acknowledged after the recovery.

    Runners of a driver that died may live for a moment: only steps after the next driver is up
    count.
    """
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        up, ray_up = since if survived else None, None
        for event in sweep.history.events():
            if event.at <= since:
                continue
            if event.name == "ray up":
                ray_up = event.at
            if not survived and event.name == "up":
                up = event.at
            if up is not None and event.name == "step" and event.at > up:
                return Wait(event.at - since, None if ray_up is None else event.at - ray_up)
        if running.poll() is not None:
            return Wait(time.time() - since) if running.returncode in _GOOD else None
        time.sleep(0.05)
    return None


def _to_the_end(sweep: Sweep, running: subprocess.Popen[bytes], folder: Path) -> list[str]:
    try:
        code = running.wait(timeout=_PATIENCE_S)
    except subprocess.TimeoutExpired:
        running.kill()
        return [f"the sweep did not end within {_PATIENCE_S:.0f} s"]
    return [] if code in _GOOD else [f"the sweep ended with {code}"]


def _steps(sweep: Sweep) -> list[float]:
    return [event.at for event in sweep.history.events() if event.name == "step"]
