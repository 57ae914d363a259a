"""What the study, the lease and the searcher cost per trial, beside vanilla Ray Tune.

    python -m tests.benchmarks.sweep_overhead 200 2000

Trials that do nothing but report once, two runners. Per trial: the wall time between the fifth and
the last finished trial, divided by their number (start-up is paid once). Results are in
``sweep_overhead.md``.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

from jamba_ray.runs.run_folder import RunFolder
from jamba_ray.study.records import ReportLine
from jamba_ray.training import Outcome, Report
from tests.study import trials
from tests.study.studies import open_study

CHATTY = 1500
"""Reports of a trial that does nothing else."""


def no_op(members, data, report, **others):
    outcomes = []
    for member in members:
        n = member.trial
        report([Report(n, 1, 1, 0.1, 0.1, {"val/average_precision": 0.5}, 0.0)])
        value = 0.5 + n * 1e-6
        outcomes.append(Outcome(n, "complete", None, value, {}, 1, 1, 0.1, 0.1, 0.1, None))
    return outcomes


def ours(n: int, sampler: str = "random") -> float:
    """Seconds per trial of a sweep with ``n`` no-op trials."""
    seen: list[tuple[float, int]] = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = RunFolder(Path(scratch) / "run").create()
        result = trials.sweep(
            folder,
            no_op,
            lambda progress: seen.append((time.monotonic(), progress.n_finished)),
            n_trials=n,
            max_concurrent=2,
            sampler={"name": sampler},
            tracking={"name": "none"},
        )
    assert result.counts["complete"] == n
    first = next(s for s in seen if s[1] >= 5)
    return (seen[-1][0] - first[0]) / (seen[-1][1] - first[1])


def vanilla(n: int) -> float:
    """The same with Tune's documented recipe for it: a class trainable, reused, OptunaSearch."""
    import ray
    from ray import tune
    from ray.tune.search.optuna import OptunaSearch

    os.environ.update(TUNE_DISABLE_AUTO_CALLBACK_LOGGERS="1", RAY_AIR_NEW_OUTPUT="0")
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    ended: list[float] = []

    class NoOp(tune.Trainable):
        def setup(self, config):
            pass

        def reset_config(self, new_config):
            return True

        def save_checkpoint(self, checkpoint_dir):
            return {}

        def load_checkpoint(self, checkpoint):
            pass

        def step(self):
            return {"value": 0.5, "done": True}

    class Clock(tune.Callback):
        def on_trial_complete(self, iteration, trials, trial, **info):
            ended.append(time.monotonic())

    with tempfile.TemporaryDirectory() as scratch:
        tune.Tuner(
            tune.with_resources(NoOp, {"CPU": 1}),
            param_space={"rate": tune.loguniform(1e-4, 1e-1)},
            tune_config=tune.TuneConfig(
                search_alg=OptunaSearch(metric="value", mode="max"),
                num_samples=n,
                max_concurrent_trials=2,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(storage_path=scratch, verbose=0, callbacks=[Clock()]),
        ).fit()
    ray.shutdown()
    return (ended[-1] - ended[4]) / (len(ended) - 5)


def reports_per_second(members: int, n: int = 400) -> float:
    """Reports committed per second by one writer, of stacks with so many members."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("JAMBA_RAY_BENCH")) as scratch:
        study = open_study(Path(scratch), n_trials=members)
        numbers = [study.ask(f"s/{i}").spec.number for i in range(members)]
        begun = time.monotonic()
        for step in range(1, n // members + 1):
            study.report([ReportLine(k, step, 0.5 + k / 1000) for k in numbers])
        spent = time.monotonic() - begun
        study.close()
    return members * (n // members) / spent


def chatty(members, data, report, **others):
    """Reports as fast as the study takes them."""
    outcomes = []
    for member in members:
        begun = time.monotonic()
        for step in range(1, CHATTY + 1):
            report([Report(member.trial, step, step, 0.1, 0.1, {"val/average_precision": 0.5}, 0)])
        spent = time.monotonic() - begun
        outcomes.append(Outcome(member.trial, "complete", None, spent, {}, 1, 1, 0.1, 0.1, 0, None))
    return outcomes


def reports_of_runners(runners: int) -> float:
    """Reports per second that so many runners get acknowledged by a real server, over Ray."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = RunFolder(Path(scratch) / "run").create()
        changes = {"pruner": {"name": "none"}, "tracking": {"name": "none"}}
        result = trials.sweep(folder, chatty, n_trials=runners, max_concurrent=runners, **changes)
    return sum(CHATTY / (trial.value or 1.0) for trial in result.trials)


def fdatasync_ms(n: int = 200) -> float:
    """What this disk takes to make 4 KiB durable: no commit can be quicker."""
    with tempfile.NamedTemporaryFile(dir=os.environ.get("JAMBA_RAY_BENCH")) as file:
        begun = time.monotonic()
        for _ in range(n):
            os.write(file.fileno(), bytes(4096))
            os.fdatasync(file.fileno())
        return 1000 * (time.monotonic() - begun) / n


def main(argv: list[str]) -> None:
    print(f"fdatasync: {fdatasync_ms():.2f} ms", flush=True)
    for members in (1, 4, 16):
        print(f"reports/s, stacks of {members}: {reports_per_second(members):.0f}", flush=True)
    for runners in (1, 2):
        print(f"reports/s of {runners} runners: {reports_of_runners(runners):.0f}", flush=True)
    for n in [int(a) for a in argv]:
        print(f"jamba_ray, {n} trials: {ours(n):.3f} s a trial", flush=True)
    if argv:
        print(f"vanilla Tune, {argv[0]} trials: {vanilla(int(argv[0])):.3f} s", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
