"""Exported files of four kinds of models, made once, and one server for a file of tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from jamba_ray.config.data import TableSection
from jamba_ray.data import prepare
from jamba_ray.exports.onnx_export import exported
from jamba_ray.exports.subject import subject_of
from jamba_ray.inference.predictor import SavedModel
from jamba_ray.inference.team import Part, joined
from tests.exports.conftest import PLATT, model_of, rows, train
from tests.serving.running import Running, serving

FAMILIES = ("mlp", "attention", "lightgbm")
KINDS = (*FAMILIES, "team")


def table() -> pd.DataFrame:
    """Columns of all kinds: gaps, a decimal comma, truth values, names that are numbers."""
    frame = rows()
    rng = np.random.default_rng(3)
    frame["cost"] = [f"{x:.2f}".replace(".", ",") for x in rng.exponential(9, len(frame))]
    frame["is internal"] = rng.random(len(frame)) < 0.5
    frame["zone"] = rng.choice(["1", "2", "30 "], len(frame))
    return frame


@pytest.fixture(scope="session")
def saved(tmp_path_factory):
    """Returns a model of a kind as it was saved."""
    torch.set_num_threads(1)
    path = tmp_path_factory.mktemp("serving") / "train.csv"
    table().to_csv(path, index=False)
    data = prepare(TableSection(path=str(path), categorical=("zone",)))
    made = {}

    def of(kind: str) -> SavedModel:
        if kind not in made and kind != "team":
            made[kind] = train(model_of(kind), data)
        elif kind not in made:
            parts = [Part(i, 1 / 3, of(one).snapshot) for i, one in enumerate(FAMILIES)]
            first = of("mlp").snapshot.documents
            made[kind] = joined(parts, {**first["metrics"], "threshold": 0.4}, first["config"])
        return SavedModel(made[kind], {"soc": {"threshold": 0.7}}, PLATT)

    return of


@pytest.fixture(scope="session")
def exports(saved, tmp_path_factory):
    """Returns the path of a kind's exported file."""
    folder = tmp_path_factory.mktemp("exports")
    real = table().drop(columns="is_threat")

    def of(kind: str) -> Path:
        path = folder / f"{kind}.onnx"
        if not path.exists():
            path.write_bytes(exported(subject_of(saved(kind), real.iloc[:100]))[0])
        return path

    return of


@pytest.fixture(scope="module")
def server(exports, tmp_path_factory) -> Iterator[Running]:
    with serving(
        tmp_path_factory.mktemp("server") / "run",
        model=str(exports("mlp")),
        max_body_mb=1.0,
        max_rows=3000,
        body_timeout_s=3.0,
    ) as running:
        yield running
