"""Rows a second of ``predict`` beside the same rows scored in memory, and its peak memory.

python -m tests.benchmarks.predict pairs|peak ROWS [MODEL]; the figures are in ``predict.md``.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.parquet as pq
import torch

from jamba_ray.checkpoints import CheckpointStore
from jamba_ray.config.data import TableSection
from jamba_ray.config.run import TrialConfig
from jamba_ray.data import prepare
from jamba_ray.inference import Predictor, load
from jamba_ray.inference.scorer import Trees
from jamba_ray.training import Member, fit

_BLOCK = 500_000
_MODELS = {
    "lightgbm": {"name": "lightgbm", "n_estimators": 100},
    "mlp": {"name": "mlp", "hidden_dim": 64},
    "attention": {"name": "attention"},
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


def write(folder: Path, n: int, kind: str) -> Path:
    """A file of ``n`` rows without labels."""
    block, path = make_rows(_BLOCK).drop(columns="is_threat"), folder / f"new.{kind}"
    blocks = [block.iloc[: min(_BLOCK, n - i)] for i in range(0, n, _BLOCK)]
    if kind == "parquet":
        schema = pa.Schema.from_pandas(block, preserve_index=False)
        with pq.ParquetWriter(path, schema) as writer:
            for some in blocks:
                writer.write_table(pa.Table.from_pandas(some, schema, preserve_index=False))
        return path
    whole = block.to_csv(index=False, header=False).encode()
    with path.open("wb") as file:
        file.write((",".join(block.columns) + "\n").encode())
        for some in blocks:
            is_whole = len(some) == _BLOCK
            file.write(whole if is_whole else some.to_csv(index=False, header=False).encode())
    return path


def copy(path: Path, output: Path) -> None:
    """The floor: Arrow reads the file and writes it again, some megabytes at a time."""
    if path.suffix == ".csv":
        with csv.open_csv(path) as rows, csv.CSVWriter(output, rows.schema) as text:
            for batch in rows:
                text.write_batch(batch)
        return
    with pq.ParquetFile(path) as file, pq.ParquetWriter(output, file.schema_arrow) as writer:
        for batch in file.iter_batches(65_536):
            writer.write_batch(batch)


def spent(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds on the clock, and seconds of the processor in all threads of this process."""
    clock, processor = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - clock, time.process_time() - processor


def plain(predictor: Predictor, x_num: Any, x_cat: Any) -> object:
    """The same model without this package, on prepared rows."""
    if isinstance(predictor._score, Trees):
        matrix = np.concatenate([x_num, x_cat], axis=1)
        return predictor._score._booster.predict(matrix, num_threads=1)
    with torch.inference_mode():
        numbers, codes = torch.from_numpy(x_num).split(1024), torch.from_numpy(x_cat).split(1024)
        return [predictor._score.module(*some) for some in zip(numbers, codes, strict=True)]


def pairs(n: int, model: str, kind: str, repeats: int = 3) -> dict[str, Any]:
    """Scores rows in memory and the same rows from file to file, in turn, in this process."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run = train(folder, model, make_rows(_BLOCK).head(20_000))
        path, output = write(folder, n, kind), folder / f"o.{kind}"
        predictor = load(run)
        frame = pd.read_csv(path) if kind == "csv" else pd.read_parquet(path)
        matrices = predictor.preprocessing.transform(frame)
        works: dict[str, Callable[[], object]] = {
            "memory": lambda: predictor.predict_proba(frame),
            "file": lambda: predictor.predict_file(path, output, overwrite=True),
            "plain": lambda: plain(predictor, *matrices),
            "copy": lambda: copy(path, output),
        }
        rounds = [[spent(work) for work in works.values()] for _ in range(repeats + 1)]
    times = dict(zip(works, np.array(rounds[1:]).transpose(1, 0, 2), strict=True))  # 1st: to warm
    clock, processor = np.median(times["memory"] / times["file"], axis=0)
    return {
        "rows_per_s": {what: round(n / float(np.median(t[:, 0]))) for what, t in times.items()},
        "processor_s_per_100k": {
            what: round(float(np.median(t[:, 1])) / n * 1e5, 3) for what, t in times.items()
        },
        "share_of_memory_by_clock": round(float(clock), 3),
        "share_of_memory_by_processor": round(float(processor), 3),
    }


def peak(n: int, model: str, kind: str) -> dict[str, float]:
    """Scores a file in a process of its own: rows, seconds, peak memory."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run = train(folder, model, make_rows(_BLOCK).head(20_000))
        path = write(folder, n, kind)
        words = [sys.executable, "-c", _CHILD, str(run), str(path), str(folder / f"o.{kind}")]
        child = subprocess.run(words, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(child.stdout)
    return found


if __name__ == "__main__":
    what, rows = sys.argv[1], int(sys.argv[2])
    for name in sys.argv[3:] or list(_MODELS):
        for kind in ("parquet", "csv"):
            found = {"pairs": pairs, "peak": peak}[what](rows, name, kind)
            print(name, kind, json.dumps(found), flush=True)
