"""Trials per hour of a sweep, beside what a user would run instead: same machine, same budget.

    python -m tests.benchmarks.sweep_speed                 # three workloads: half an hour
    python -m tests.benchmarks.sweep_speed --quick         # minutes: one small workload
    python -m tests.benchmarks.sweep_speed --device cuda   # one GPU: four trials of a peer share it
    python -m tests.benchmarks.sweep_speed --scaling       # how cost grows: trials, rows, features

Each sweep is a process of its own; its time is from the start of the process to its end, imports
and Ray included. jamba_ray is timed as it ships: it reads and prepares the data, saves checkpoints,
scores the test rows with intervals, trains LightGBM beside and writes the report. The peers
(``tests/benchmarks/peers``) are given prepared rows, and do none of that: they train the trials.
``--keep FOLDER`` keeps what was measured, and a later call with the same folder measures only what
is missing. Results are in ``sweep_speed.md``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from jamba_ray.cluster.resources import this_machine
from jamba_ray.data import prepare
from tests.benchmarks.peers import optuna_processes, tune_function, tune_train
from tests.benchmarks.peers.job import write_job
from tests.benchmarks.sweep_scaling import scaling
from tests.benchmarks.workloads import ABOUT, Workload

OURS = "jamba_ray"
PEERS = {
    tune_train.NAME: "Ray Tune + Ray Train, the documented recipe",
    tune_function.NAME: "Ray Tune functions, eager PyTorch",
    optuna_processes.NAME: "Optuna processes, eager PyTorch",
}
TARGETS = {
    "cpu": {tune_train.NAME: 10, tune_function.NAME: 3, optuna_processes.NAME: 2},
    "cuda": {tune_train.NAME: 30, tune_function.NAME: 10, optuna_processes.NAME: 10},
}
PER_GPU = 4
"""Trials of a peer that share a GPU."""
LIMIT_S = 3600


@dataclass(frozen=True)
class Run:
    """One sweep, measured."""

    wall_s: float
    values: list[float]
    """Best validation average precision of each trial, in order of their ends."""
    ended_s: list[float]
    """When each trial ended, in seconds from the start of the process."""
    rows: float
    """Training rows seen by all trials together."""
    step_s: float
    """Time in forward, backward and optimizer, all trials together."""
    slots: int
    goodput: float | None = None
    """jamba_ray's own figure: the share of runner time."""

    @property
    def per_hour(self) -> float:
        return 3600.0 * len(self.values) / self.wall_s

    def reached(self, value: float) -> float:
        """Seconds until a trial of at least ``value`` had ended."""
        return next(s for s, v in zip(self.ended_s, self.values, strict=True) if v >= value)


def measure(name: str, workload: Workload, folder: Path, device: str) -> Run:
    """Run one contestant's sweep in a fresh process."""
    cpus = this_machine().cpus
    gpus = torch.cuda.device_count() if device == "cuda" else 0
    slots = PER_GPU * gpus if gpus else cpus
    scratch = folder / "scratch"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    if name == OURS:
        run = _run_ours(workload, scratch, cpus=cpus, gpus=gpus)
    else:
        data = prepare(workload.config.data)
        job = workload.job(data, str(scratch), slots=slots, cpus=cpus, gpus=gpus)
        write_job(job, data)
        begun, wall_s = _timed([f"tests.benchmarks.peers.{name}", str(scratch)], Path.cwd())
        trials = json.loads((scratch / f"{name}.json").read_text())
        if len(trials) != job.n_trials:
            raise SystemExit(f"{name} ran {len(trials)} trials, not {job.n_trials}")
        trials.sort(key=lambda t: t["ended_at"])
        run = Run(
            wall_s,
            [t["value"] for t in trials],
            [t["ended_at"] - begun for t in trials],
            sum(t["rows"] for t in trials),
            sum(t["step_s"] for t in trials),
            slots,
        )
    shutil.rmtree(scratch)
    return run


def _run_ours(workload: Workload, scratch: Path, *, cpus: int, gpus: int) -> Run:
    import optuna
    import pyarrow.parquet as pq

    begun, wall_s = _timed(["jamba_ray.sweep", *workload.settings, "run=ours"], scratch)
    folder = scratch / "runs" / "ours"
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage = optuna.storages.RDBStorage(f"sqlite:///{folder / 'study.db'}")
    (summary,) = optuna.get_all_study_summaries(storage)
    trials = optuna.load_study(study_name=summary.study_name, storage=storage).trials
    ended = {t.number: t.datetime_complete.timestamp() - begun for t in trials}
    table = pq.read_table(folder / "trials.parquet").to_pylist()
    table.sort(key=lambda row: ended[row["number"]])
    return Run(
        wall_s,
        [row["value"] for row in table],
        [ended[row["number"]] for row in table],
        sum(row["rows_seen"] for row in table),
        sum(row["goodput_s"] for row in table),
        gpus or min(cpus, workload.config.n_trials),
        json.loads((folder / "summary.json").read_text())["goodput"],
    )


def _timed(module: list[str], folder: Path) -> tuple[float, float]:
    """(Unix seconds at the start, seconds) of ``python -m module`` run in ``folder``."""
    root = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    # Compiled modules are kept, as they are for any user.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    # Ray's workers are nice to other work (15), Optuna's processes are not.
    environment["RAY_worker_niceness"] = "0"
    with tempfile.TemporaryFile("w+") as output:
        at, begun = time.time(), time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", *module],
            cwd=folder,
            env={**environment, "PYTHONPATH": path},
            stdout=output,
            stderr=subprocess.STDOUT,
            timeout=LIMIT_S,
        )
        wall_s = time.perf_counter() - begun
        if done.returncode:
            output.seek(0)
            raise SystemExit(
                f"{' '.join(module)} ended with {done.returncode}:\n{output.read()[-3000:]}"
            )
    return at, wall_s


def table(workload: Workload, runs: dict[str, list[Run]], device: str) -> str:
    """Markdown; of several turns the fastest counts, because other work only ever adds time."""
    best = {name: min(turns, key=lambda run: run.wall_s) for name, turns in runs.items()}
    common = min(max(run.values) for run in best.values())
    lines = [
        f"**{workload.name}**: {ABOUT[workload.name]}; {workload.config.n_trials} trials, "
        f"{workload.config.data.n_samples:,} rows, {workload.config.training.epochs:g} epochs, "
        f"seed {workload.config.seed}\n",
        "| | wall (all turns) | trials/h | jamba_ray is | target | best val. AP | "
        f"{common:.4f} reached | rows trained | steps' share of cores |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, run in best.items():
        ratio, target = "", ""
        if name != OURS and OURS in best:
            ratio = f"{best[OURS].per_hour / run.per_hour:.1f}x"
            target = f"{TARGETS[device][name]}x"
        walls = " / ".join(f"{turn.wall_s:.0f}" for turn in runs[name])
        lines.append(
            f"| {PEERS.get(name, name)} | {walls} s | {run.per_hour:,.0f} | {ratio} | {target} | "
            f"{max(run.values):.4f} | {run.reached(common):.0f} s | {run.rows:,.0f} | "
            f"{run.step_s / run.wall_s / run.slots:.0%} |"
        )
    if OURS in best:
        lines.append(
            f"\njamba_ray's goodput (share of runner time in steps): {best[OURS].goodput:.0%}"
        )
    return "\n".join(lines)


def header(device: str) -> str:
    """Where and when this was measured."""
    machine = this_machine()
    name = torch.cuda.get_device_name() if device == "cuda" else platform.processor() or "CPU"
    return f"{machine.cpus} CPU cores, {name}; torch {torch.__version__}, {time.strftime('%F')}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one small workload")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--workload", action="append", choices=tuple(ABOUT))
    parser.add_argument("--only", action="append", choices=(OURS, *PEERS), help="default: all")
    parser.add_argument("--turns", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0, help="of all sweeps: luck differs with it")
    parser.add_argument("--keep", type=Path, help="folder for what was measured")
    parser.add_argument("--scaling", action="store_true", help="how cost grows, and no peers")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        keep = (chosen.keep or Path(scratch)).resolve()
        print(header(chosen.device) + "\n", flush=True)
        if chosen.scaling:
            scaling(lambda workload: measure(OURS, workload, keep, chosen.device))
            return
        default = ["quick"] if chosen.quick else ["attention_heads", "small_mlp", "many_small_mlp"]
        for name in chosen.workload or default:
            workload = Workload.of(name, (f"seed={chosen.seed}",))
            # The recipe would take half an hour for the long one; its trials cost what they cost.
            skipped = {tune_train.NAME} if name == "many_small_mlp" else set()
            contestants = chosen.only or [n for n in (OURS, *PEERS) if n not in skipped]
            runs = _collect(workload, contestants, keep, chosen)
            print(table(workload, runs, chosen.device) + "\n", flush=True)


def _collect(workload, contestants, keep, chosen) -> dict[str, list[Run]]:
    """Turn about, so that a change of the machine's load meets all alike."""
    runs: dict[str, list[Run]] = {}
    for turn in range(chosen.turns):
        for name in contestants:
            seed = f"-seed{chosen.seed}" if chosen.seed else ""
            path = keep / f"{workload.name}-{chosen.device}{seed}-{name}-{turn}.json"
            if path.exists():
                run = Run(**json.loads(path.read_text()))
            else:
                run = measure(name, workload, keep, chosen.device)
                path.write_text(json.dumps(asdict(run)))
            runs.setdefault(name, []).append(run)
    return runs


if __name__ == "__main__":
    main()
