"""What a run says of its data."""

import numpy as np
import pandas as pd
import pytest

from jamba_ray.config.data import SyntheticSection, TableSection
from jamba_ray.data import prepare


@pytest.fixture
def flows(tmp_path):
    """100 rows in the order of time, of which the last ten repeat the first ten."""
    n = 90
    y = np.arange(n) % 3 == 0
    frame = pd.DataFrame(
        {
            "when": pd.date_range("2026-01-01", periods=n, freq="h").astype(str),
            "bytes": np.where(np.arange(n) % 10 == 4, np.nan, np.arange(n) * 1.5),
            "port": np.where(np.arange(n) % 5 == 2, "?", (np.arange(n) * 7).astype(str)),
            "proto": np.where(np.arange(n) % 4 == 1, " ", np.where(y, "tcp", "udp")),
            "constant": 1,
            "empty": np.nan,
            "host": [f"host-{i}" for i in range(n)],
            "name": "x",
            "label": np.where(y, "bad", "benign"),
        }
    )
    again = frame.iloc[:10].assign(when=pd.date_range("2026-02-01", periods=10).astype(str))
    path = tmp_path / "flows.csv"
    pd.concat([frame, again], ignore_index=True).to_csv(path)
    return path


def section(path, **more):
    return TableSection(
        path=str(path),
        target="label",
        positive=("bad",),
        timestamp="when",
        drop=("name",),
        split={"kind": "time", "val": 0.1, "test": 0.1},
        **more,
    )


def test_rows_columns_gaps_and_repeated_rows_are_told(flows):
    found = prepare(section(flows)).overview
    parts = found["parts"]
    assert {name: part["rows"] for name, part in parts.items()} == {
        "train": 80, "val": 10, "test": 10,
    }  # fmt: skip
    assert parts["train"]["threats"] == 27
    assert parts["train"]["prevalence"] == 27 / 80
    assert (parts["train"]["from"], parts["train"]["to"]) == ("2026-01-01", "2026-01-04 07:00:00")
    assert (parts["test"]["from"], parts["test"]["to"]) == ("2026-02-01", "2026-02-10")
    assert [part["also_in_train"] for part in parts.values()] == [None, 0, 10]
    assert found["columns"] == {"numeric": ["bytes", "port"], "categorical": ["proto"]}
    left_out = found["left_out"]
    assert left_out.pop("constant") == "is the same in all training rows"
    assert left_out.pop("empty") == "has no value in the training rows"
    assert left_out.pop("host").startswith("has no value that occurs 10 times")
    assert left_out == {
        "label": "the label",
        "when": "the time",
        "name": "named in data.drop",
        "Unnamed: 0": "the index that pandas wrote",
    }
    assert found["missing"]["bytes"] == {"train": 0.1, "val": 0.1, "test": 0.1}
    assert found["missing"]["port"]["train"] == 0.2
    assert found["missing"]["proto"]["train"] == 0.25
    assert found["duplicates"] == {"repeated": 0, "both_labels": 0}


def test_rows_on_disk_are_told_alike(flows, tmp_path):
    disk = section(flows, rows_in="disk", cache=str(tmp_path / "cache"))
    first, again = prepare(disk).overview, prepare(disk).overview
    assert first == again == prepare(section(flows)).overview


def test_rows_of_the_generator():
    found = prepare(SyntheticSection(n_samples=2000)).overview
    assert sum(part["rows"] for part in found["parts"].values()) == 2000
    assert set(found["left_out"].values()) <= {
        "the label", "the time", "the group", "the true probability",
    }  # fmt: skip
