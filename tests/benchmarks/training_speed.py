"""One trial alone and on a group of two, fp32 and bf16, beside a plain eager PyTorch loop.

    python -m tests.benchmarks.training_speed [--rows N] [--gpus N] [--turns N] [--compile]

Prints a table of rows/s and their ratio to the plain loop of the same model on one thread, how long
a group takes to start, and which share of the time checkpoints take. On a machine with GPUs `--gpus
2` runs the same on them (with fp16 too); there the plain loop runs on one GPU. The plain loop is
eager; `--compile` compiles ours. On a machine that does other work too set `RAY_worker_niceness=0`:
Ray's workers are of low priority otherwise, and the plain loop is not.
"""

from __future__ import annotations

import argparse
import platform
import tempfile
import time
from pathlib import Path

import torch

from jamba_ray.checkpoints import CheckpointStore
from jamba_ray.cluster.resources import Machine
from jamba_ray.config.run import TrialConfig
from jamba_ray.data.prepared import PreparedData
from jamba_ray.driver.ray_session import ray_session
from jamba_ray.models import build
from jamba_ray.runners.group import Group
from jamba_ray.runners.group_rank import Pace
from jamba_ray.runs.run_folder import RunFolder
from jamba_ray.training import Member, Outcome, fit
from tests.training.step_time import made

MODELS = {
    "attention, hidden 32, batch 512": ({"name": "attention"}, 512),
    "mlp, hidden 256, batch 512": ({"name": "mlp"}, 512),
}


def config_of(
    model: dict, batch: int, precision: str, rows: int, compiled: bool = False
) -> TrialConfig:
    training = {"batch_size": batch, "epochs": 1.0, "report_rows": max(batch, rows // 8)}
    return TrialConfig.model_validate(
        {"model": model, "training": training, "precision": precision, "compile": compiled}
    )


def speed(outcome: Outcome) -> float:
    """Rows/s of steps; data order, validation and reports are in neither this nor `plain`."""
    return outcome.rows_seen / outcome.goodput_s


def going_on(reports):
    return ["continue"] * len(reports)


def plain(config: TrialConfig, data: PreparedData, device: str) -> float:
    """Rows/s of what a user would write."""
    module = build(config.model, data.schema, seed=0).to(device).train()
    optimizer = torch.optim.AdamW(module.parameters(), lr=2e-3)
    loss_of, size = torch.nn.BCEWithLogitsLoss(), config.training.batch_size
    arrays = (data.train.x_num, data.train.x_cat, data.train.y)
    x_num, x_cat, y = (torch.from_numpy(a).to(device) for a in arrays)
    order = torch.randperm(len(y), device=device)
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(config.precision)
    scaler = torch.amp.GradScaler(device, enabled=config.precision == "fp16")
    begun = time.perf_counter()
    for first in range(0, len(y) - size + 1, size):
        index = order[first : first + size]
        with torch.autocast(device, dtype=dtype, enabled=dtype is not None):
            logits = module(x_num[index], x_cat[index])
        optimizer.zero_grad()
        scaler.scale(loss_of(logits.float(), y[index])).backward()
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()
    if device == "cuda":
        torch.cuda.synchronize()
    return len(y) // size * size / (time.perf_counter() - begun)


def saving_share(config: TrialConfig, data: PreparedData, folder: Path) -> tuple[float, int]:
    """Share of a trial's time that goes into checkpoints as often as rank 0 writes them."""
    store, pace, spent, steps = CheckpointStore(folder), Pace(), [], [0]
    # Eight reports an epoch are few: ask at every second batch; and long enough for a share.
    every = config.training.model_copy(
        update={"report_rows": 2 * config.training.batch_size, "epochs": 16.0}
    )

    def save(trial, snapshot):
        steps[0] += 1
        if pace.is_due():
            begun = time.monotonic()
            with pace:
                store.save(trial, steps[0], snapshot, "step")
            spent.append(time.monotonic() - begun)

    begun = time.monotonic()
    fit([Member(0, config.model_copy(update={"training": every}))], data, going_on, save=save)
    return sum(spent) / (time.monotonic() - begun), len(spent)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=16_000)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--gpus", type=int, default=0)
    parser.add_argument("--compile", action="store_true")
    chosen = parser.parse_args()
    device = "cuda" if chosen.gpus else "cpu"
    formats = ("fp32", "bf16", "fp16") if chosen.gpus else ("fp32", "bf16")
    torch.set_num_threads(1)
    data = made(chosen.rows)
    machine = Machine(max(2, chosen.gpus), chosen.gpus)
    name = torch.cuda.get_device_name() if chosen.gpus else platform.processor() or "CPU"
    print(f"torch {torch.__version__}, {name}, {time.strftime('%Y-%m-%d')}, 1 thread a worker")
    with tempfile.TemporaryDirectory() as scratch, ray_session(machine=machine):
        folder = RunFolder(Path(scratch) / "run").create()
        group = Group(folder, workers=2, gpus=1.0 if chosen.gpus > 1 else 0.0)
        start_s = started_in(group, data)
        print(f"a group of two: {start_s:.1f} s from nothing to the end of a one-step trial\n")
        print("| model, format | plain loop, rows/s | 1 worker | 2 workers |")
        print("| --- | ---: | ---: | ---: |", flush=True)
        for title, (model, batch) in MODELS.items():
            for precision in formats:
                config = config_of(model, batch, precision, chosen.rows, chosen.compile)
                best = speeds(config, data, group, device, chosen.turns)
                plainly = best.pop("plain")
                ratios = (f"{rows / plainly:.2f}x" for rows in best.values())
                print(
                    f"| {title}, {precision} | {plainly:,.0f} | {' | '.join(ratios)} |", flush=True
                )
        print()
        for number, (title, (model, batch)) in enumerate(MODELS.items()):
            config = config_of(model, batch, "fp32", 0)
            share, count = saving_share(config, data, Path(scratch) / f"c{number}")
            print(f"{title}: {count} checkpoints took {share:.1%} of the time", flush=True)
        group.close()


def started_in(group: Group, data: PreparedData) -> float:
    """Seconds from nothing to the end of a trial of one step."""
    begun = time.monotonic()
    first = config_of(MODELS["mlp, hidden 256, batch 512"][0], 512, "fp32", 512)
    group.fit([Member(0, first)], data, lambda reports: ["stop"] * len(reports))
    return time.monotonic() - begun


def speeds(
    config: TrialConfig, data: PreparedData, group: Group, device: str, turns: int
) -> dict[str, float]:
    """The best rows/s of so many turns: the plain loop, one worker, two."""
    best = dict.fromkeys(("plain", "1", "2"), 0.0)
    for _ in range(turns):
        (alone,) = fit([Member(1, config)], data, going_on, device=device)
        (both,) = group.fit([Member(1, config)], data, going_on)
        now = {"plain": plain(config, data, device), "1": speed(alone), "2": speed(both)}
        best = {key: max(best[key], now[key]) for key in best}
    return best


if __name__ == "__main__":
    main()
