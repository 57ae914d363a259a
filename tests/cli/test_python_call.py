"""Arguments of a Python call as the settings of a command; nothing is started here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import jamba_ray
from jamba_ray.cli.python_call import configured
from jamba_ray.config.run import SweepConfig, TrainConfig
from jamba_ray.data import prepare, read_table
from jamba_ray.errors import ConfigError, DataError, StorageError
from tests.inference.conftest import make_frame


def test_settings_are_those_of_the_command(tmp_path):
    found = configured(
        SweepConfig,
        tmp_path / "flows.csv",
        "label",
        {
            "n_trials": np.int64(3),
            "model": {"name": "mlp", "hidden_dim": 32},
            "training": {"epochs": np.float32(0.5)},
            "data": {"timestamp": "at", "negative": ["BENIGN", "Normal traffic"]},
            "data.split": {"kind": "time"},
            "enqueue": [{"training.learning_rate": 0.01}],
            "store": tmp_path / "a b",
        },
        "learning_rate",
    )
    assert found.data.path == str(tmp_path / "flows.csv")
    assert (found.data.target, found.data.timestamp) == ("label", "at")
    assert found.data.negative == ("BENIGN", "Normal traffic")
    assert found.data.split.kind == "time"
    assert (found.model.name, found.model.hidden_dim) == ("mlp", 32)
    assert (found.n_trials, found.training.epochs) == (3, 0.5)
    assert found.sweep_name == "learning_rate"
    assert found.store == str(tmp_path / "a b")
    assert found.enqueue == ({"training.learning_rate": 0.01},)


def test_a_search_space_is_taken_whole():
    space = {"training": {"learning_rate": {"type": "float", "low": 1e-4, "high": 1e-2}}}
    assert configured(SweepConfig, None, None, {"search_space": space}).search_space == space


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"learning_rate": 0.1}, "`training.learning_rate`"),
        ({"model": "mpl"}, "`model=mpl` must be one of"),
        ({"training": {"epochs": -1, "batch": 3}}, "`training.epochs` must be above"),
        ({"dry_run": True}, "Use the command"),
    ],
)
def test_a_mistake_is_raised_as_the_sentence_of_the_command(settings, said):
    with pytest.raises(ConfigError, match=said):
        configured(TrainConfig, None, None, settings)


def test_what_is_no_table_is_a_sentence(tmp_path):
    with pytest.raises(DataError, match="must be a pandas DataFrame or the path"):
        configured(TrainConfig, [1, 2], None, {})
    for frame, said in (
        (pd.DataFrame(), "rows and columns, but has 0 and 0"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "'a' comes twice"),
    ):
        with pytest.raises(DataError, match=said):
            configured(TrainConfig, frame, None, {"store": tmp_path})
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="Choose another `store`"):
        configured(TrainConfig, make_frame(9, 0), None, {"store": tmp_path / "file"})


def test_a_dataframe_trains_as_its_file_would(tmp_path):
    frame = make_frame(400, seed=1)
    frame.to_csv(tmp_path / "rows.csv", index=False)
    settings = {"store": tmp_path / "runs"}
    here = configured(TrainConfig, frame, "is_threat", settings)
    there = configured(TrainConfig, tmp_path / "rows.csv", "is_threat", settings)
    one, other = prepare(here.data), prepare(there.data)
    np.testing.assert_array_equal(one.train.y, other.train.y)
    np.testing.assert_allclose(one.train.x_num, other.train.x_num, atol=1e-6)
    np.testing.assert_array_equal(one.train.x_cat, other.train.x_cat)


def test_the_same_frame_is_the_same_file_and_a_mistake_leaves_none(tmp_path):
    frame = make_frame(50, seed=1)
    with pytest.raises(ConfigError):
        configured(TrainConfig, frame, None, {"store": tmp_path, "seed": -1})
    assert not list(tmp_path.iterdir())
    files = [
        configured(TrainConfig, rows, None, {"store": tmp_path}).data.path
        for rows in (frame, frame.copy().set_index(frame.index + 7), frame.assign(rate=0.0))
    ]
    assert files[0] == files[1] != files[2]
    assert sorted(map(str, (tmp_path / ".frames").iterdir())) == sorted({files[0], files[2]})


def test_cells_of_several_types_become_text(tmp_path):
    frame = pd.DataFrame({"port": [80, "80", None, "dns"], "is_threat": [0, 1, 0, 1]})
    path = configured(TrainConfig, frame, None, {"store": tmp_path}).data.path
    assert [None if pd.isna(v) else v for v in read_table(path)["port"]] == [
        "80",
        "80",
        None,
        "dns",
    ]


def test_a_run_is_trained_in_this_process_and_returned(tmp_path):
    frame = make_frame(300, seed=1)
    run = jamba_ray.train(
        frame, model="lightgbm", store=tmp_path, run="one", tracking="none", quiet=True
    )
    assert repr(run) == f"Run({str(tmp_path / 'one')!r}: {_said(run)})"
    assert "<table" in run._repr_html_()
    model = run.load()
    assert repr(model).startswith("Predictor(lightgbm: 3 columns, threshold 0.")
    assert model.predict_proba(frame).shape == (300,)
    with pytest.raises(jamba_ray.JambaError, match="name must be unused"):
        jamba_ray.train(frame, model="lightgbm", store=tmp_path, run="one", quiet=True)
    assert Path(run.config["data"]["path"]).parent == tmp_path / ".frames"


def _said(run):
    return f"one configuration, ok, best: avg precision {run.best.value:.4f}"
