"""Three families trained for real on one small table of mixed types, once for all tests."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from jamba_ray.checkpoints import CheckpointStore, Snapshot
from jamba_ray.config.data import TableSection
from jamba_ray.config.run import TrialConfig
from jamba_ray.data import PreparedData, prepare
from jamba_ray.training import Member, fit

MODELS = {
    "mlp": {"name": "mlp", "hidden_dim": 16},
    "attention": {"name": "attention", "hidden_dim": 16, "n_heads": 2},
    "lightgbm": {"name": "lightgbm", "n_estimators": 20},
}


def make_frame(n: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    size, rate = rng.lognormal(5, 2, n), rng.normal(size=n)
    service = rng.choice(["http", "dns", "ssh", "ftp"], n)
    logit = 1.5 * rate + 2.0 * (service == "ftp") - 0.5
    frame = pd.DataFrame({"bytes": size, "rate": rate, "service": service})
    frame.loc[rng.random(n) < 0.05, "bytes"] = np.nan
    frame["is_threat"] = (rng.random(n) < 1 / (1 + np.exp(-logit))).astype(int)
    return frame


@dataclass(frozen=True)
class Trained:
    run: Path
    path: Path
    snapshot: Snapshot
    data: PreparedData
    test: pd.DataFrame


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Trained]:
    folder = tmp_path_factory.mktemp("inference")
    test = make_frame(300, seed=2)
    make_frame(900, seed=1).to_csv(folder / "train.csv", index=False)
    test.to_csv(folder / "test.csv", index=False)
    section = TableSection(path=str(folder / "train.csv"), test=str(folder / "test.csv"))
    data = prepare(section)
    torch.set_num_threads(1)
    made = {}
    for i, (name, model) in enumerate(MODELS.items()):
        config = TrialConfig.model_validate(
            {"model": model, "training": {"epochs": 2, "batch_size": 64, "report_rows": 400}}
        )
        (outcome,) = fit([Member(i, config)], data, lambda reports: ["continue"] * len(reports))
        assert outcome.checkpoint is not None
        (folder / name).mkdir()
        store = CheckpointStore(folder / name / "checkpoints")
        path = store.save(i, outcome.best_step, outcome.checkpoint, "best")
        store.publish(path, folder / name / "best")
        made[name] = Trained(folder / name, store.root / path, outcome.checkpoint, data, test)
    return made


@pytest.fixture(params=list(MODELS))
def model(request: pytest.FixtureRequest, trained: dict[str, Trained]) -> Trained:
    return trained[request.param]
