"""A small model of every family and a team of them, trained once on columns of all kinds."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from jamba_ray.config.data import TableSection
from jamba_ray.config.family import FAMILIES
from jamba_ray.config.run import TrialConfig
from jamba_ray.data import prepare
from jamba_ray.exports.subject import subject_of
from jamba_ray.inference.predictor import SavedModel
from jamba_ray.inference.team import Part, joined
from jamba_ray.training import Member, fit
from tests.inference.conftest import make_frame

TREES = ("lightgbm", "random_forest", "extra_trees", "xgboost", "catboost")
MODELS = ("mlp", "attention", "tabm", "logistic", *TREES)
SMALL = {"n_estimators": 12, "max_depth": 5, "hidden_dim": 16, "n_heads": 2}
PLATT = {"method": "platt", "parameters": {"slope": [1.2], "offset": [-0.3]}, "threat_share": 0.3}


def rows() -> pd.DataFrame:
    frame = make_frame(500, seed=1)
    rng = np.random.default_rng(0)
    frame["packets sent"] = rng.integers(2**53, 2**60, len(frame))
    frame["score"] = rng.normal(size=len(frame))  # the name of an output
    return frame


def model_of(family: str, **settings) -> dict:
    fields = FAMILIES[family].model_fields
    return {"name": family, **{k: v for k, v in SMALL.items() if k in fields}, **settings}


def train(model: dict, data):
    training = {"epochs": 1, "batch_size": 64, "report_rows": 400}
    config = TrialConfig.model_validate({"model": model, "training": training})
    (outcome,) = fit([Member(0, config)], data, lambda reports: ["continue"] * len(reports))
    assert outcome.checkpoint is not None
    return outcome.checkpoint


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    torch.set_num_threads(1)
    path = tmp_path_factory.mktemp("exports") / "train.csv"
    rows().to_csv(path, index=False)
    return prepare(TableSection(path=str(path)))


@pytest.fixture(scope="session")
def snapshots(data):
    """Returns the checkpoint of a family, or of the team of all."""
    made = {}

    def of(name: str):
        if name not in made and name != "team":
            made[name] = train(model_of(name), data)
        elif name not in made:
            weight = 1.0 / len(MODELS)
            first = of("mlp").documents
            parts = [Part(i, weight, of(one)) for i, one in enumerate(MODELS)]
            made[name] = joined(parts, {**first["metrics"], "threshold": 0.4}, first["config"])
        return made[name]

    return of


@pytest.fixture(scope="session")
def subjects(snapshots):
    """Returns a family's model with a second threshold, a calibration and hard rows."""
    made = {}
    real = rows().drop(columns="is_threat")

    def of(name: str):
        if name not in made:
            saved = SavedModel(snapshots(name), {"soc": {"threshold": 0.7}}, PLATT)
            made[name] = subject_of(saved, real)
        return made[name]

    return of
