"""Rows that lie in memory, that are streamed from it, and that are streamed from mapped files.

    python -m tests.benchmarks.large_data [--rows N] [--turns N] [--folder FOLDER]

Prints what it takes to prepare a Parquet table of 20 numeric columns in memory and on disk, and the
rows/s of training on them: resident; streamed from host memory (as where a GPU is too small); from
mapped files that are in the page cache, and that were dropped from it first. On a machine with a
GPU the batches are copied to it.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from jamba_ray.config.data import TableSection
from jamba_ray.config.run import TrialConfig
from jamba_ray.data import PreparedData, prepare
from jamba_ray.data.mapped_rows import MappedRows
from jamba_ray.data.prepared import Rows
from jamba_ray.training import Member, engine, fit
from jamba_ray.training.device_rows import ResidentRows, StreamedRows

MODELS = {
    "mlp, hidden 64, batch 512": ({"name": "mlp", "hidden_dim": 64}, 512),
    "attention, hidden 32, batch 512": ({"name": "attention"}, 512),
}
SEEN_ROWS = {"cpu": 100_000, "cuda": 4_000_000}
PLACES = {
    "resident": lambda rows, device, place: ResidentRows.of(rows, device),
    "streamed from memory": lambda rows, device, place: StreamedRows(rows, device),
    "streamed from files": lambda rows, device, place: StreamedRows(rows, device),
    "streamed from files, cold": lambda rows, device, place: StreamedRows(rows, device),
}


def table(folder: Path, n: int) -> TableSection:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({f"f{i:02d}": rng.standard_normal(n) for i in range(20)})
    frame["is_threat"] = (frame["f00"] * frame["f01"] + rng.standard_normal(n) > 0).astype(int)
    frame.to_parquet(folder / "t.parquet", row_group_size=100_000)
    return TableSection(path=str(folder / "t.parquet"), cache=str(folder / "cache"))


def prepared(section: TableSection, rows_in: str) -> PreparedData:
    """Prints how long it took."""
    begun = time.perf_counter()
    data = prepare(section.model_copy(update={"rows_in": rows_in}))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"prepared in {rows_in}: {time.perf_counter() - begun:.1f} s, peak so far {peak:.2f} GB")
    return data


def speed(data: PreparedData, name: str, model: dict, batch: int, device: str) -> float:
    """Rows/s of steps, the gathering of batches included."""
    engine.rows_on = PLACES[name]
    if name.endswith("cold"):
        drop_from_page_cache(data.train)
    seen = SEEN_ROWS[device]
    training = {
        "batch_size": batch,
        "epochs": seen / len(data.train),
        "report_rows": seen,
        "val_rows": 1000,
    }
    config = TrialConfig.model_validate({"model": model, "training": training})
    val = Rows(*(array[:1000].copy() for array in (data.val.x_num, data.val.x_cat, data.val.y)))
    few = replace(data, val=val)
    (outcome,) = fit([Member(0, config)], few, lambda r: ["continue"] * len(r), device=device)
    return outcome.rows_seen / outcome.goodput_s


def drop_from_page_cache(rows: MappedRows) -> None:
    for file in rows.folder.glob("x_*.npy"):
        descriptor = os.open(file, os.O_RDONLY)
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--folder", default=None)
    options = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_num_threads(1)
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} CPUs, {device}")
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        section = table(Path(folder), options.rows)
        disk = prepared(section, "disk")
        host = prepared(section, "host")
        for title, (model, batch) in MODELS.items():
            rates: dict[str, list[float]] = {name: [] for name in PLACES}
            for _ in range(options.turns):
                for name, found in rates.items():
                    data = disk if "files" in name else host
                    found.append(speed(data, name, model, batch, device))
            base = statistics.median(rates["resident"])
            for name, found in rates.items():
                rate = statistics.median(found)
                print(f"{title:32s} {name:26s} {rate:10,.0f} rows/s {rate / base:6.2f}")


if __name__ == "__main__":
    main()
