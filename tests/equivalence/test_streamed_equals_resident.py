"""Rows that are gathered batch by batch, from memory or from mapped files, train the same model to
the bit as rows that lie on the device.

Each claim has a sabotage twin: the comparison must fail when batches come late or out of order.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from jamba_ray.data.mapped_rows import MappedRows, write_rest
from jamba_ray.training import engine as engine_room
from jamba_ray.training import fit
from jamba_ray.training.device_rows import StreamedRows
from tests.training.trials import Recorder, member

ATTENTION = {"name": "attention", "hidden_dim": 8, "n_heads": 2, "feature_layers": 1}
MLP = {"name": "mlp", "hidden_dim": 16, "token_dim": 4, "dropout_rate": 0.2, "feature_masking": 0.1}
CASES = {
    "mlp": [member(0, MLP)],
    "attention": [member(0, ATTENTION, batch_size=50)],
    "accumulate": [member(0, MLP, accumulate=3)],
    "lightgbm": [member(0, {"name": "lightgbm", "n_estimators": 30, "subsample": 0.7})],
    "stack": [member(t, MLP, learning_rate=1e-3 * (t + 1)) for t in range(3)],
}


@pytest.fixture(scope="module")
def mapped(data, tmp_path_factory):
    """``data`` in files."""
    parts = {}
    for name in ("train", "val"):
        folder, rows = tmp_path_factory.mktemp(name), getattr(data, name)
        np.save(folder / "x_num.npy", rows.x_num)
        np.save(folder / "x_cat.npy", rows.x_cat)
        write_rest(folder, rows)
        parts[name] = MappedRows(folder)
    return replace(data, **parts)


def trained(case, data):
    """Everything that a user could see of it."""
    recorder = Recorder()
    outcomes = fit(CASES[case], data, recorder)
    found = {"curve": np.array([[*r.metrics.values()] for r in recorder.reports])}
    for outcome in outcomes:
        found[f"{outcome.trial}/value"] = np.array(outcome.value)
        tensors = outcome.checkpoint.tensors
        trees = outcome.checkpoint.blobs.get("model.txt", b"")
        found[f"{outcome.trial}/trees"] = np.frombuffer(trees, np.uint8)
        found |= {f"{outcome.trial}/{name}": tensors[name] for name in tensors}
    return found


def from_host(monkeypatch):
    """As where a GPU's memory is too small; on this CPU everything fits."""
    monkeypatch.setattr(engine_room, "rows_on", lambda rows, device, _: StreamedRows(rows, device))


def assert_same(a, b):
    assert sorted(a) == sorted(b)
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


@pytest.mark.parametrize("case", CASES)
def test_from_mapped_files(case, data, mapped):
    assert_same(trained(case, data), trained(case, mapped))


@pytest.mark.parametrize("case", CASES)
def test_from_host_memory(case, data, monkeypatch):
    resident = trained(case, data)
    from_host(monkeypatch)
    assert_same(resident, trained(case, data))


def one_late(true):
    last = []

    def take(self, index):
        last.append(index)
        return true(self, last[-2] if len(last) > 1 else index)

    return take


@pytest.mark.parametrize(
    "wrong",
    [one_late, lambda true: lambda self, index: true(self, index.flip(1))],
    ids=["one batch late", "rows of a batch reversed"],
)
def test_sabotage(data, monkeypatch, wrong):
    resident = trained("mlp", data)
    from_host(monkeypatch)
    monkeypatch.setattr(StreamedRows, "_take", wrong(StreamedRows._take))
    with pytest.raises(AssertionError):
        assert_same(resident, trained("mlp", data))


def test_training_from_files_looks_ahead(mapped, monkeypatch):
    """No batch is gathered by the thread that trains, so no step waits for the disk alone."""
    asked = []
    true = StreamedRows.gather

    def gather(self, index):
        asked.append(bool(self._gathered))
        return true(self, index)

    monkeypatch.setattr(StreamedRows, "gather", gather)
    fit([member(0, MLP)], mapped, Recorder())
    assert asked
    assert all(asked)
