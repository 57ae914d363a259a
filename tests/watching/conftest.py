"""A small model with a promise, its reference rows, and rows to come."""

from __future__ import annotations

import json

import pandas as pd
import pytest
import torch

from jamba_ray.checkpoints import write_checkpoint
from jamba_ray.config.data import SyntheticSection, TableSection
from jamba_ray.data import generate, prepare
from jamba_ray.data.reference import reference_of
from jamba_ray.driver.score_table import score_table
from jamba_ray.inference import Predictor, score_rows
from tests.commands import run_here
from tests.exports.conftest import train


def rows(n: int = 9_000) -> pd.DataFrame:
    section = SyntheticSection(
        n_samples=n, n_features=6, n_late_families=0, threat_ratio=0.3, smoothing=0.0
    )
    frame = generate(section).drop(columns=["bayes", "family"])
    proto = pd.Series(["tcp", "tcp", "udp", "icmp"] * n)[:n]
    frame["proto"] = proto.sample(frac=1.0, random_state=0).to_numpy()
    frame["host"] = pd.Series(["a", "b", "c"] * n)[:n].to_numpy()
    frame.loc[frame.sample(frac=0.05, random_state=1).index, "feature_03"] = None
    return frame


@pytest.fixture(scope="session")
def frame():
    return rows()


@pytest.fixture(scope="session")
def place(tmp_path_factory, frame):
    """A folder with runs/x and the table that it was trained on."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("watching")
    frame[:5_000].to_csv(folder / "flows.csv", index=False)
    section = TableSection(
        path=str(folder / "flows.csv"),
        timestamp="timestamp",
        group="host",
        check_shift=False,
        split={"val": 0.3, "test": 0.1},
    )
    data = prepare(section)
    snapshot = train({"name": "lightgbm", "n_estimators": 30}, data)
    run = folder / "runs" / "x"
    run.mkdir(parents=True)
    write_checkpoint(snapshot, run / "best")
    predictor = Predictor(snapshot)
    scores = {"val": score_rows(predictor, data.val)}
    scores |= {name: score_rows(predictor, part) for name, part in data.tests.items()}
    (run / "scores.parquet").write_bytes(score_table(scores, None, data))
    (run / "reference.parquet").write_bytes(reference_of(data, scores).to_bytes())
    done = run_here("threshold", "runs/x", "max_fpr=0.05", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def watch(place):
    """Runs ``watch`` over some rows; returns the finished command and ``watch.json``."""

    def run(name, some, *settings, expect=None):
        some.to_csv(place / f"{name}.csv", index=False)
        words = [f"{name}.csv", "data.timestamp=timestamp", f"output=watch/{name}", *settings]
        done = run_here("watch", "runs/x", *words, cwd=place)
        assert "Traceback" not in done.stdout + done.stderr
        if expect is not None:
            assert done.returncode == expect, done.stdout + done.stderr
        path = place / "watch" / name / "watch.json"
        return done, json.loads(path.read_text(), parse_constant=pytest.fail)

    return run
