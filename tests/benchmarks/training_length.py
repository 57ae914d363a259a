"""Measures what trials of ten epochs, of the default length and of sixty epochs reach on a test.

``python -m tests.benchmarks.training_length RESULTS.jsonl mlp breast_cancer 500 5000`` adds a line
for each data set and length, of three seeds that train as one stack; figures and machine are in
``training_length.md``.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
import torch
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.metrics import average_precision_score

from jamba_ray.config.data import SyntheticSection, TableSection
from jamba_ray.config.run import TrialConfig
from jamba_ray.data import prepare
from jamba_ray.data.prepared import PreparedData
from jamba_ray.inference import score_rows
from jamba_ray.training import Member, fit

LENGTHS = {"10 epochs": {"epochs": 10}, "default": {}, "60 epochs": {"epochs": 60}}
_VAL = 0.15
_TEST_ROWS = 20_000
_NSL_ROWS = 20_000


def rows_of(name: str, folder: Path) -> PreparedData:
    """Returns a data set: ``breast_cancer``, ``digits``, ``nsl_kdd`` (``nsl_kdd=500`` of its rows),
    or so many synthetic rows."""
    path = folder / "rows.parquet"
    if name in ("breast_cancer", "digits"):
        frame = (load_breast_cancer if name == "breast_cancer" else load_digits)(
            as_frame=True
        ).frame
        if name == "digits":
            frame["target"] = (frame["target"] == 8).astype(int)
        frame.to_parquet(path, index=False)
        split = {"val": _VAL, "test": 0.3}
        return prepare(TableSection(name="table", path=str(path), target="target", split=split))
    if name.startswith("nsl_kdd"):
        n_rows = int(name.partition("=")[2] or _NSL_ROWS)
        source = Path(os.environ["NSL_KDD"])
        frame = pd.read_parquet(source / "train.parquet")
        frame.sample(n_rows, random_state=0).to_parquet(path, index=False)
        return prepare(
            TableSection(
                name="table",
                path=str(path),
                test=str(source / "test.parquet"),
                target="is_threat",
                group="attack_class",
                drop=("difficulty",),
            )
        )
    n = int(name)
    total = n + _TEST_ROWS
    split = {"kind": "random", "val": _VAL * n / total, "test": _TEST_ROWS / total}
    return prepare(SyntheticSection(name="synthetic", n_samples=total, split=split))


def measure(name: str, model: str, length: str, data: PreparedData, n_seeds: int) -> dict:
    """Trains as many seeds as one stack; returns what each reached on the test, and the time."""
    config = TrialConfig(model={"name": model}, training=LENGTHS[length])
    members = [Member(k, config.model_copy(update={"seed": k})) for k in range(n_seeds)]
    begun, cpu = time.monotonic(), time.process_time()
    outcomes = fit(members, data, lambda reports: ["continue"] * len(reports))
    cpu_s, wall_s = time.process_time() - cpu, time.monotonic() - begun
    test = data.tests["test"]
    scores = [
        average_precision_score(test.y, score_rows(o.checkpoint, test))
        for o in outcomes
        if o.checkpoint is not None
    ]
    return {
        "data": name,
        "rows": len(data.train),
        "model": model,
        "length": length,
        "test_ap": scores,
        "val_ap": [o.value for o in outcomes],
        "epochs": [o.epochs for o in outcomes],
        "cpu_s": cpu_s / n_seeds,
        "wall_s": wall_s / n_seeds,
        "load": os.getloadavg()[0],
    }


def main(results: str, model: str, *names: str) -> None:
    """Measures each data set (``500:1``: with one seed) and appends its lines."""
    torch.set_num_threads(1)
    lengths = os.environ.get("LENGTHS", ",".join(LENGTHS)).split(",")
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            name, _, seeds = name.partition(":")
            data = rows_of(name, Path(folder))
            for length in lengths:
                found = measure(name, model, length, data, int(seeds or 3))
                with Path(results).open("a") as file:
                    file.write(json.dumps(found) + "\n")
                print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
