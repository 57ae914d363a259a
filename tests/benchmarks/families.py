"""What each family reaches with its defaults: ``python -m tests.benchmarks.families [seeds]``.

Data: NSL-KDD (at most 20,000 training rows; needs ``NSL_KDD``), the synthetic table that ships with
jamba_ray, and scikit-learn's breast cancer. One thread; the best report by validation is judged.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
import torch

from jamba_ray.config.data import SyntheticSection, TableSection
from jamba_ray.config.family import FAMILIES
from jamba_ray.config.run import TrialConfig
from jamba_ray.data import PreparedData, prepare
from jamba_ray.evaluation import value_of
from jamba_ray.inference import score_rows
from jamba_ray.training import Member, fit

TRAIN_ROWS = 20_000


def tables(folder: Path, seed: int) -> dict[str, PreparedData]:
    """Name -> rows, where they are at hand."""
    found = {"synthetic": prepare(SyntheticSection(n_samples=20_000))}
    from sklearn.datasets import load_breast_cancer

    frame = load_breast_cancer(as_frame=True).frame.rename(columns={"target": "is_threat"})
    frame = frame.sample(frac=1.0, random_state=seed)
    parts = {"train": frame.iloc[:400], "test": frame.iloc[400:]}
    if nsl := os.environ.get("NSL_KDD"):
        train, test = (pd.read_parquet(Path(nsl) / f"{part}.parquet") for part in parts)
        sampled = train.sample(TRAIN_ROWS, random_state=seed)
        found["NSL-KDD"] = prepared(folder / "nsl", {"train": sampled, "test": test})
    found["breast cancer"] = prepared(folder / "cancer", parts)
    return found


def prepared(place: Path, parts: dict[str, pd.DataFrame]) -> PreparedData:
    place.mkdir()
    for name, frame in parts.items():
        label = next(c for c in ("is_threat", "label", "is_attack") if c in frame.columns)
        told = [c for c in ("attack", "attack_class", "difficulty", "family") if c in frame.columns]
        plain = frame.drop(columns=told).rename(columns={label: "is_threat"})
        plain.to_parquet(place / f"{name}.parquet", index=False)
    paths = {n: str(place / f"{n}.parquet") for n in parts}
    return prepare(TableSection(path=paths["train"], test=paths["test"]))


def main() -> None:
    torch.set_num_threads(1)
    seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    print("| data | family | seed | validation AP | test AP | seconds | CPU s | MB |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for seed in range(seeds):
        with tempfile.TemporaryDirectory() as folder:
            for name, data in tables(Path(folder), seed).items():
                for family in sys.argv[2:] or sorted(FAMILIES):
                    config = TrialConfig.model_validate({"model": {"name": family}, "seed": seed})
                    begun, cpu = time.perf_counter(), time.process_time()
                    keep_on = lambda reports: ["continue"] * len(reports)  # noqa: E731
                    (outcome,) = fit([Member(0, config)], data, keep_on)
                    wall, used = time.perf_counter() - begun, time.process_time() - cpu
                    rows = data.tests["test"]
                    value = value_of(
                        "average_precision", rows.y, score_rows(outcome.checkpoint, rows)
                    )
                    size = outcome.checkpoint.nbytes / 1e6
                    print(
                        f"| {name} | {family} | {seed} | {outcome.value:.4f} | {value:.4f} "
                        f"| {wall:.0f} | {used:.0f} | {size:.1f} |",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
