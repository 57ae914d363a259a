"""A .pt file holds a network bit for bit, and one of a stranger runs nothing when it is read."""

from __future__ import annotations

import io
import os
import pickle
import types
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import torch

from jamba_ray.errors import ConfigError, ParityError
from jamba_ray.exports import pt_file
from jamba_ray.exports.pt_export import exported, verified
from jamba_ray.exports.pt_model import KEYS, dictionary, saved_model
from jamba_ray.inference import load
from jamba_ray.inference.team import Part, joined
from tests.commands import run_here
from tests.exports.conftest import model_of, rows, train

CONFIG = (
    "version", "input_dim", "hidden_dim", "output_dim", "dropout_rate", "n_heads",
    "feature_layers", "batch_size", "learning_rate", "epochs",
)  # fmt: skip


def saved_bytes(value) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize("name", ["attention", "mlp"])
def test_a_file_holds_the_network_bit_for_bit(subjects, name):
    subject = subjects(name)
    raw, words = exported(subject)
    assert "are equal to the bit, scores differ by at most 0.0e+00" in words
    plain = torch.load(io.BytesIO(raw), weights_only=True)  # by torch alone
    assert tuple(plain) == KEYS
    assert set(CONFIG) <= set(plain["config"])
    assert plain["config"]["hidden_dim"] == 16
    assert plain["config"]["n_heads"] == (2 if name == "attention" else None)
    tensors = subject.saved.snapshot.tensors
    for key, tensor in plain["model_state"].items():
        assert tensor.numpy().tobytes() == tensors[f"model/{key}"].tobytes()
    assert plain["optimizer_state"]["state"].keys() == {"step", "exp_avg", "exp_avg_sq"}
    again = saved_model(pt_file.read(raw))
    assert again.thresholds == subject.saved.thresholds
    assert again.calibration == subject.saved.calibration


def test_other_weights_are_refused(subjects, data):
    subject = subjects("mlp")
    other = train(model_of("mlp", dropout_rate=0.3), data)
    with pytest.raises(ParityError, match="differs in"):
        verified(subject, pt_file.written(dictionary(replace(subject.saved, snapshot=other))))


def test_one_flipped_bit_of_a_weight_is_refused(subjects):
    found = dictionary(subjects("mlp").saved)
    found["model_state"]["head.bias"].view(torch.int32).bitwise_xor_(1)
    with pytest.raises(ParityError, match="differs in 1 weights"):
        verified(subjects("mlp"), pt_file.written(found))


def test_what_is_no_network_says_so(subjects):
    with pytest.raises(ConfigError, match="weights of one network, but the model is 'logistic'"):
        exported(subjects("logistic"))
    subject = subjects("mlp")
    documents = subject.saved.snapshot.documents
    parts = [Part(i, 0.5, subject.saved.snapshot) for i in range(2)]
    team = joined(parts, documents["metrics"], documents["config"])
    with pytest.raises(ConfigError, match="the model is a team"):
        exported(replace(subject, saved=replace(subject.saved, snapshot=team)))


# --- files of strangers ------------------------------------------------------------------------


class Runs:
    def __reduce__(self):
        return os.system, ("touch /tmp/export-was-here",)


def _with_part(name: str, content: bytes, how: int) -> bytes:
    buffer = io.BytesIO(saved_bytes({"a": 1}))
    with zipfile.ZipFile(buffer, "a", how) as archive:
        archive.writestr(name, content)
    return buffer.getvalue()


def _deep() -> dict:
    value: dict = {}
    for _ in range(100):
        value = {"x": value}
    return value


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (saved_bytes({"a": Runs()}), r"it holds (posix|nt)\.system, which would run code"),
        (saved_bytes({"a": types.SimpleNamespace()}), "it holds types.SimpleNamespace"),
        (saved_bytes({"a": torch.zeros(1).expand(10**12)}), "`a` is larger than the file"),
        (saved_bytes(_deep()), "deep"),
        (saved_bytes([1, 2]), "must hold a dictionary, but holds a list"),
        (saved_bytes({"a": b"text"}), "`a` is a bytes, neither"),
        (saved_bytes({"a": 1})[:-40], "damaged or cut off"),
        (pickle.dumps({"a": 1}), "it is no zip file"),
        (_with_part("archive/x", b"0" * 10**6, zipfile.ZIP_DEFLATED), "is compressed"),
        (b"", "it is no zip file"),
    ],
)
def test_a_file_of_a_stranger_is_refused_by_name(raw, why):
    with pytest.raises(ValueError, match=why):
        pt_file.read(raw)
    assert not os.path.exists("/tmp/export-was-here")


def test_numpy_numbers_are_read():
    found = pt_file.read(saved_bytes({"metrics": {"auc": np.float64(0.5), "n": np.int64(3)}}))
    assert found == {"metrics": {"auc": 0.5, "n": 3}}
    assert [type(one) for one in found["metrics"].values()] == [float, int]


# --- import ------------------------------------------------------------------------------------


def test_an_exported_file_is_imported_as_a_run(subjects, tmp_path):
    subject = subjects("attention")
    (tmp_path / "model.pt").write_bytes(exported(subject)[0])
    done = run_here("import", "model.pt", "run=back", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    predictor = load(tmp_path / "runs" / "back")
    frame = rows()
    np.testing.assert_array_equal(
        predictor.predict_proba(frame), subject.predictor.predict_proba(frame)
    )
    assert predictor.thresholds == subject.predictor.thresholds
    assert predictor.calibration == subject.predictor.calibration
    again = run_here("import", "model.pt", "run=back", cwd=tmp_path)
    assert again.returncode == 73
    assert "the run must not exist yet" in again.stderr


@pytest.mark.slow
def test_a_file_made_elsewhere_gets_its_preprocessing_from_data(subjects, tmp_path):
    found = dictionary(subjects("attention").saved)
    config = {name: found["config"][name] for name in CONFIG}
    theirs = {**found, "config": config, "metrics": {"auc": np.float64(0.5)}}
    (tmp_path / "theirs.pt").write_bytes(saved_bytes(theirs))
    rows().to_csv(tmp_path / "flows.csv", index=False)
    bare = run_here("import", "theirs.pt", cwd=tmp_path)
    assert bare.returncode == 64
    assert "has no preprocessing" in bare.stderr
    done = run_here("import", "theirs.pt", "data.path=flows.csv", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    cut = run_here("threshold", "runs/theirs", "max_fpr=0.2", cwd=tmp_path)
    assert cut.returncode == 0, cut.stderr
    np.testing.assert_allclose(
        load(tmp_path / "runs" / "theirs").predict_proba(rows()),
        subjects("attention").predictor.predict_proba(rows()),
        atol=1e-6,
    )
    theirs["config"]["hidden_dim"] = 32
    (tmp_path / "wrong.pt").write_bytes(saved_bytes(theirs))
    wrong = run_here("import", "wrong.pt", "data.path=flows.csv", cwd=tmp_path)
    assert wrong.returncode == 64
    assert "weights must fit its configuration" in wrong.stderr
