"""Rows a second of ``predict`` beside the scorer alone, and its peak memory.

python -m tests.benchmarks.predict [rows] [model]; the figures are in ``predict.md``.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from jamba_ray.checkpoints import CheckpointStore
from jamba_ray.config.data import TableSection
from jamba_ray.config.run import TrialConfig
from jamba_ray.data import prepare
from jamba_ray.inference import load
from jamba_ray.training import Member, fit

_BLOCK = 500_000
_MODELS = {
    "lightgbm": {"name": "lightgbm", "n_estimators": 100},
    "mlp": {"name": "mlp", "hidden_dim": 64},
}
_CHILD = """
import json, resource, sys, time
import jamba_ray
model = jamba_ray.load(sys.argv[1])
begun = time.monotonic()
said = model.predict_file(sys.argv[2], sys.argv[3])
seconds = time.monotonic() - begun
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps({"rows": said.rows, "seconds": seconds, "peak_bytes": peak}))
"""


def make_rows(n: int) -> pd.DataFrame:
    """20 columns, as flows have them: 16 numbers, 4 names."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {f"x{i}": np.round(rng.lognormal(3, 2, n), 3) for i in range(10)}
        | {f"n{i}": rng.integers(0, 65_536, n) for i in range(6)}
        | {f"c{i}": rng.choice(["http", "dns", "ssh", "ftp", "smtp"], n) for i in range(4)}
    )
    logit = np.log(frame["x0"]) - np.log(frame["x1"]) + (frame["c0"] == "ftp")
    return frame.assign(is_threat=(rng.random(n) < 1 / (1 + np.exp(-logit))).astype(int))


def train(folder: Path, model: str, rows: pd.DataFrame) -> Path:
    """A run folder with a model."""
    rows.to_csv(folder / "train.csv", index=False)
    data = prepare(TableSection(path=str(folder / "train.csv")))
    config = TrialConfig.model_validate({"model": _MODELS[model], "training": {"epochs": 1}})
    (outcome,) = fit([Member(0, config)], data, lambda reports: ["continue"] * len(reports))
    assert outcome.checkpoint is not None
    (folder / "run").mkdir()
    store = CheckpointStore(folder / "run" / "checkpoints")
    store.publish(store.save(0, 1, outcome.checkpoint, "best"), folder / "run" / "best")
    return folder / "run"


def main(n: int, model: str) -> dict[str, float]:
    """Measures one model."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = make_rows(_BLOCK)
        run = train(folder, model, rows.head(20_000))
        block = rows.drop(columns="is_threat")
        text = block.to_csv(index=False, header=False).encode()
        with (folder / "new.csv").open("wb") as file:
            file.write((",".join(block.columns) + "\n").encode())
            for _ in range(-(-n // _BLOCK)):
                file.write(text)
        size = (folder / "new.csv").stat().st_size
        predictor = load(run)
        x_num, x_cat = predictor.preprocessing.transform(block.head(100_000))
        begun = time.monotonic()
        predictor._score(x_num, x_cat)
        scorer = 100_000 / (time.monotonic() - begun)
        begun = time.monotonic()
        if model == "lightgbm":
            matrix = np.concatenate([x_num, x_cat], axis=1)
            predictor._score._booster.predict(matrix)
        else:
            with torch.inference_mode():
                predictor._score._module(torch.tensor(x_num), torch.tensor(x_cat))
        plain = 100_000 / (time.monotonic() - begun)
        child = subprocess.run(
            [
                sys.executable,
                "-c",
                _CHILD,
                str(run),
                str(folder / "new.csv"),
                str(folder / "o.csv"),
            ],
            capture_output=True,
            text=True,
            check=True,
        )
        said = json.loads(child.stdout)
    return {
        "rows": said["rows"],
        "csv_bytes": size,
        "predict_rows_per_s": said["rows"] / said["seconds"],
        "scorer_rows_per_s": scorer,
        "plain_rows_per_s": plain,
        "peak_gb": said["peak_bytes"] / 1e9,
    }


if __name__ == "__main__":
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000_000
    for name in sys.argv[2:] or list(_MODELS):
        print(name, json.dumps(main(rows, name)), flush=True)
