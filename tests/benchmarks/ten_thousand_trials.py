"""Ten thousand trials: what the driver does per trial, and what it holds in memory.

    python -m tests.benchmarks.ten_thousand_trials study --trials 10000 --runners 100
    python -m tests.benchmarks.ten_thousand_trials study --sampler tpe --stop-after 300
    RAY_worker_niceness=0 python -m tests.benchmarks.ten_thousand_trials sweep --sampler random
    python -m tests.benchmarks.ten_thousand_trials sweep --sampler random --trials 1000 --nodes 12
    python -m tests.benchmarks.ten_thousand_trials suggest

``study``: 100 runners whose trials do nothing take simulated seconds to train, so that no machine
is needed for them; the study, its sampler, its pruner and its commits are real, and every
suggestion, report and end goes through them in the order in which 100 runners would send it.
``sweep``: the whole of it, with Ray Tune and two runners (or ``--nodes`` of a local cluster with
one each), trials that do nothing and take no time.
``suggest``: what a suggestion of TPE and of the Gaussian process costs in a long study.
Ray's own figure for the bookkeeping of 10,000 trials is 800 s (its documentation on the scalability
of Tune). Results are in ``ten_thousand_trials.md``.
"""

from __future__ import annotations

import argparse
import contextlib
import heapq
import math
import os
import random
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jamba_ray.config.sweep_space import parse_space
from jamba_ray.driver.sweep import run_sweep
from jamba_ray.runs.run_folder import RunFolder
from jamba_ray.study.records import ReportLine, TrialOutcome
from tests.benchmarks.sweep_overhead import no_op
from tests.study import trials
from tests.study.studies import open_study, space_of

N_REPORTS = 16
_FLOAT: dict[str, Any] = {"type": "float", "low": 1e-4, "high": 1e-1, "log": True}
_TREE: dict[str, Any] = {
    "model": {
        "width": {"type": "categorical", "choices": [8, 16, 32, 64]},
        "n_heads": {"type": "categorical", "choices": [1, 2, 4, 8]},
        "dropout": {"type": "float", "low": 0.0, "high": 0.5},
    },
    "training": {"rate": _FLOAT, "decay": _FLOAT},
}
"""The space of ``suggest``."""
BLOCKS = 10
_LOOK_EVERY = 10
"""The driver asks for the sweep's progress twice a second: about once in so many trials."""


class Blocks:
    """Prints time per trial and memory of this process after each tenth of the trials. CPU time is
    what the machine's other work, and its disk, leave alone."""

    def __init__(self, n: int) -> None:
        self._each, self._from = max(1, n // BLOCKS), 0
        self._begun, self._cpu = time.monotonic(), time.process_time()

    def seen(self, n: int) -> None:
        if n - self._from < self._each:
            return
        now, cpu = time.monotonic(), time.process_time()
        each_ms = 1000 / (n - self._from)
        print(
            f"{n:>6} trials: {each_ms * (now - self._begun):6.1f} ms a trial, "
            f"{each_ms * (cpu - self._cpu):5.1f} ms of CPU time, {rss_mb():4.0f} MB",
            flush=True,
        )
        self._from, self._begun, self._cpu = n, now, cpu


def rss_mb() -> float:
    """Resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def study(n: int, runners: int, sampler: str, stop_after_s: float) -> None:
    """The study alone, driven in simulated time."""
    from jamba_ray.config.search import SamplerSection

    rng, blocks, begun = random.Random(0), Blocks(n), time.monotonic()
    ended = asked = 0
    with tempfile.TemporaryDirectory(dir=os.environ.get("JAMBA_RAY_BENCH")) as folder:
        chosen = SamplerSection(name=sampler)
        study = open_study(Path(folder), n_trials=n, runners=runners, sampler=chosen)
        # (simulated time, runner, trial, its next report, seconds between its reports, its goal)
        events: list[tuple[float, int, int, int, float, float]] = []

        def ask(now: float, runner: int) -> None:
            nonlocal asked
            answer = study.ask(f"s/{asked}")
            asked += 1
            if answer.spec is not None:
                pace = rng.uniform(1.0, 4.0)
                rate = float(answer.spec.params["training.rate"] or 1.0)
                goal = 0.9 - 0.1 * abs(math.log10(rate) + 2) + rng.gauss(0, 0.01)
                heapq.heappush(events, (now + pace, runner, answer.spec.number, 1, pace, goal))

        for runner in range(runners):
            ask(0.0, runner)
        simulated = 0.0
        while events and time.monotonic() - begun < stop_after_s:
            simulated, runner, number, step, pace, goal = heapq.heappop(events)
            value = goal * (1 - 0.7**step)
            (decision,) = study.report([ReportLine(number, step, value, rows_seen=100 * step)])
            if decision == "continue" and step < N_REPORTS:
                heapq.heappush(events, (simulated + pace, runner, number, step + 1, pace, goal))
                continue
            state = "pruned" if decision == "prune" else "complete"
            study.finish(TrialOutcome(number, state, value=value))
            ended += 1
            if ended % _LOOK_EVERY == 0:
                study.progress(max(0, ended - _LOOK_EVERY))
            blocks.seen(ended)
            ask(simulated, runner)
        counts = study.progress(ended).counts
        size = sum(f.stat().st_size for f in Path(folder).glob("study*.journal")) / 1e6
        study.close()
    spent = time.monotonic() - begun
    print(
        f"{ended} trials by {sampler} on {runners} runners: {spent:.0f} s for "
        f"{simulated / 3600:.1f} simulated hours; {counts['complete']} complete, "
        f"{counts['pruned']} pruned; {size:.0f} MB on disk"
    )


def sweep(n: int, sampler: str, nodes: int) -> None:
    """Run the whole stack on two runners, or on one runner on each of ``nodes`` local nodes."""
    begun, blocks = time.monotonic(), Blocks(n)
    with tempfile.TemporaryDirectory() as scratch, contextlib.ExitStack() as stack:
        address = stack.enter_context(cluster(nodes)) if nodes else None
        if nodes:
            print(f"{nodes} nodes are up after {time.monotonic() - begun:.0f} s", flush=True)
        chosen = trials.config(
            n_trials=n,
            max_concurrent=nodes or 2,
            sampler={"name": sampler},
            tracking={"name": "none"},
        )
        result = run_sweep(
            chosen,
            parse_space(chosen),
            trials.data(),
            RunFolder(Path(scratch) / "run").create(),
            lambda progress: blocks.seen(progress.n_finished),
            address=address,
            fit=no_op,
        )
    spent = time.monotonic() - begun
    print(
        f"{result.counts['complete']} trials by {sampler} on {result.runners} runners: "
        f"{spent:.0f} s"
    )


@contextlib.contextmanager
def cluster(nodes: int) -> Iterator[str]:
    """The address of a cluster of a head without CPUs and so many nodes with one each, all of them
    processes of this machine."""
    from ray.cluster_utils import Cluster

    os.environ["RAY_AUTH_MODE"] = "disabled"
    os.environ.setdefault("RAY_raylet_start_wait_time_s", "300")
    started = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    try:
        for _ in range(nodes):
            started.add_node(num_cpus=1, object_store_memory=80_000_000)
        started.wait_for_nodes()
        yield started.address
    finally:
        started.shutdown()


def suggest() -> None:
    """Time a suggestion in studies of which 12 % are complete and the rest pruned."""
    import optuna
    from optuna.trial import TrialState, create_trial

    from jamba_ray.config.search import SamplerSection
    from jamba_ray.study.proposal import distributions, propose
    from jamba_ray.study.sampler_history import SamplerHistory
    from jamba_ray.study.sampling import make_sampler
    from jamba_ray.study.study_view import view

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    space, rng = space_of(_TREE), random.Random(0)
    study = optuna.create_study(direction="maximize")
    for n in (200, 1_000, 5_000, 10_000):
        for number in range(len(study.get_trials(deepcopy=False)), n):
            params = propose(
                view(study, study._storage),
                optuna.samplers.RandomSampler(seed=number),
                space,
                number,
            )
            complete = rng.random() < 0.12
            steps = range(1, (16 if complete else rng.choice([3, 3, 9])) + 1)
            study.add_trial(
                create_trial(
                    state=TrialState.COMPLETE if complete else TrialState.PRUNED,
                    value=rng.random(),
                    params=params,
                    distributions=distributions(space, params),
                    intermediate_values={step: rng.random() for step in steps},
                )
            )
        trials_ = study.get_trials(deepcopy=False)
        for name in ("tpe", "gp"):
            window, section = SamplerHistory(name, 8, "maximize"), SamplerSection(name=name)
            for trial in trials_:
                window.note(trial)
            took = []
            for k in range(5):
                begun = time.perf_counter()
                sampler = make_sampler(section, space, "maximize", seed=1, number=n + k, draw=0)
                shown = view(study, study._storage, window.of(trials_))
                propose(shown, sampler, space, n + k)
                took.append(time.perf_counter() - begun)
            print(f"{n:>6} trials, {name}: {1000 * sorted(took)[2]:.0f} ms", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["study", "sweep", "suggest"])
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--runners", type=int, default=100)
    parser.add_argument("--sampler", default="random")
    parser.add_argument("--nodes", type=int, default=0)
    parser.add_argument("--stop-after", type=float, default=math.inf)
    given = parser.parse_args()
    if given.what == "study":
        study(given.trials, given.runners, given.sampler, given.stop_after)
    elif given.what == "suggest":
        suggest()
    else:
        sweep(given.trials, given.sampler, given.nodes)


if __name__ == "__main__":
    main()
