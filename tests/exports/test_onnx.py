"""An ONNX file gives its model's answers on rows made to tell them apart, or is not written."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import onnx
import pandas as pd
import pytest
from torch import nn

from jamba_ray.errors import ConfigError, ParityError
from jamba_ray.exports import network_nodes, onnx_model, preprocessing_nodes, tree_nodes
from jamba_ray.exports.cells import cells_of
from jamba_ray.exports.onnx_export import exported, verified
from jamba_ray.exports.subject import subject_of
from jamba_ray.inference.predictor import SavedModel
from jamba_ray.models.mlp import Mlp
from tests.exports.conftest import MODELS, TREES, model_of, rows, train


@pytest.fixture(scope="module")
def files(subjects):
    made = {}

    def of(name: str) -> bytes:
        if name not in made:
            made[name] = exported(subjects(name))[0]
        return made[name]

    return of


def parity_of(raw: bytes) -> dict:
    held = {one.key: one.value for one in onnx.load_model_from_string(raw).metadata_props}
    return json.loads(held["jamba_ray.parity"])


@pytest.mark.parametrize("name", [*MODELS, "team"])
def test_a_file_gives_its_models_answers_on_hard_rows(subjects, name):
    raw, words = exported(subjects(name))
    parity = parity_of(raw)
    assert parity["max_dp"] <= (1e-6 if name in ("mlp", "attention", "tabm", "team") else 1e-12)
    assert parity["max_dprobability"] is not None
    assert not any(parity["flips"].values())
    assert parity["rows"] - parity["real_rows"] > 400
    assert verified(subjects(name), raw) == words


def test_hard_rows_lie_on_both_sides_of_every_split(subjects):
    subject = subjects("lightgbm")
    x_num, _ = subject.predictor.preprocessing.transform(subject.frame)
    n_features = subject.predictor.preprocessing.schema.input_dim
    nodes = onnx_model.of_lightgbm(subject.saved.snapshot.blobs["model.txt"], n_features)
    assert sum(len(nodes.splits_of(j)) for j in range(4)) > 40
    for j, column in enumerate(subject.predictor.preprocessing.numeric):
        values = np.unique(x_num[:, j])
        for split in nodes.splits_of(j):
            # The nearest numbers that scaling gives on either side of it.
            below, above = values[values <= split].max(), values[values > split].min()
            between = np.linspace(column.low, column.high, 5000)
            scaled = column(between)
            assert not ((scaled > below) & (scaled <= split)).any()
            assert not ((scaled > split) & (scaled < above)).any()


# --- sabotage: each of these files must be refused ---------------------------------------------


def test_a_wrong_fill_is_refused(subjects):
    subject = subjects("lightgbm")
    first, *rest = subject.predictor.preprocessing.numeric
    wrong = replace(first, fill=first.fill + 1e3)
    with pytest.raises(ParityError, match="must give the model's answers, but does not: on"):
        _exported_with(subject, numeric=(wrong, *rest))


def test_a_swapped_category_is_refused(subjects):
    subject = subjects("mlp")
    found = subject.predictor.preprocessing.categorical
    one = next(c for c in found if len(c.categories) > 1)
    wrong = replace(one, categories=(one.categories[1], one.categories[0], *one.categories[2:]))
    with pytest.raises(ParityError):
        _exported_with(subject, categorical=tuple(wrong if c is one else c for c in found))


def _exported_with(subject, **changed):
    own = subject.predictor.preprocessing
    kept = {k: getattr(own, k) for k in ("numeric", "categorical")}
    wrong = type(own)(**{**kept, **changed}, formats=own.formats)

    class Sabotaged:
        preprocessing = wrong

        def __getattr__(self, name):
            return getattr(subject.predictor, name)

    return exported(replace(subject, predictor=Sabotaged()))


@pytest.mark.parametrize("name", ["lightgbm", "team"])
def test_thresholds_rounded_to_the_nearest_float32_are_refused(subjects, name, monkeypatch):
    exact = tree_nodes.thresholds
    monkeypatch.setattr(
        tree_nodes, "thresholds", lambda nodes: exact(nodes).astype(np.float32).astype(np.float64)
    )
    with pytest.raises(ParityError):
        exported(subjects(name))


def test_random_rows_would_not_have_noticed_the_rounding(subjects, monkeypatch):
    exact = tree_nodes.thresholds
    monkeypatch.setattr(
        tree_nodes, "thresholds", lambda nodes: exact(nodes).astype(np.float32).astype(np.float64)
    )
    subject = subjects("lightgbm")
    n = subject.real
    assert exported(replace(subject, frame=subject.frame[:n], scores=subject.scores[:n]))


def test_the_weights_of_another_trial_are_refused(subjects, data):
    subject = subjects("mlp")
    other = train(model_of("mlp", dropout_rate=0.3), data)
    with pytest.raises(ParityError):
        exported(replace(subject, saved=replace(subject.saved, snapshot=other)))


def test_a_layer_that_is_left_out_is_refused(subjects, monkeypatch):
    monkeypatch.setitem(network_nodes._LAYERS, nn.LayerNorm, lambda g, layer, x: x)
    with pytest.raises(ParityError):
        exported(subjects("attention"))


# --- what is inside, and who can read it -------------------------------------------------------

ALONE = """
import json, sys
class Refused:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "onnx", "jamba_ray", "pandas", "lightgbm"}:
            raise ImportError(f"{name} is not here")
sys.meta_path.insert(0, Refused())
import numpy as np, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1])
rows = json.load(open(sys.argv[2]))
cells = {}
for one in session.get_inputs():
    kind = object if one.type == "tensor(string)" else np.float64
    cells[one.name] = np.array([float("nan") if v is None and kind is not object else v
                                for v in rows[one.name]], dtype=kind)
names = [one.name for one in session.get_outputs()]
found = dict(zip(names, session.run(None, cells)))
held = session.get_modelmeta().custom_metadata_map
print(json.dumps([{k: v.tolist() for k, v in found.items()}, held]))
"""


def test_a_process_with_onnxruntime_alone_scores_rows(subjects, files, tmp_path):
    subject = subjects("team")
    (tmp_path / "team.onnx").write_bytes(files("team"))
    frame = rows().head(50)
    given = {
        "bytes": [None if np.isnan(v) else v for v in frame["bytes"]],
        "rate": frame["rate"].tolist(),
        "packets sent": frame["packets sent"].astype(float).tolist(),
        "column score": frame["score"].tolist(),
        "service": frame["service"].tolist(),
    }
    (tmp_path / "rows.json").write_text(json.dumps(given))
    done = subprocess.run(
        [sys.executable, "-c", ALONE, str(tmp_path / "team.onnx"), str(tmp_path / "rows.json")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    found, held = json.loads(done.stdout)
    p = subject.predictor.predict_proba(frame)
    np.testing.assert_allclose(found["score"], p, atol=1e-6)
    np.testing.assert_allclose(found["probability"], subject.predictor.probabilities(p), atol=1e-6)
    assert found["alert"] == (p >= subject.predictor.threshold).astype(int).tolist()
    assert found["alert_soc"] == (p >= 0.7).astype(int).tolist()
    meta = {k.removeprefix("jamba_ray."): json.loads(v) for k, v in held.items()}
    assert meta["families"] == list(MODELS)
    assert meta["thresholds"]["soc"]["threshold"] == 0.7
    assert meta["fingerprints"] == dict(subject.predictor.fingerprints)
    assert {c["column"] for c in meta["columns"]} == set(frame.columns) - {"is_threat"}
    assert meta["parity"]["flips"] == {"default": 0, "soc": 0}
    assert meta["opset"]["ai.onnx"] == 20


@pytest.mark.parametrize(
    "calibration",
    [
        {"method": "none", "parameters": {}},
        {"method": "temperature", "parameters": {"scale": [0.8]}},
        {"method": "beta", "parameters": {"a": [0.9], "b": [1.1], "c": [0.1]}},
        {"method": "isotonic", "parameters": {"x": [0.1, 0.3, 0.9], "y": [0.1, 0.5, 0.8]}},
        {"method": "isotonic", "parameters": {"x": [0.3], "y": [0.5]}},
    ],
)
def test_every_calibration_is_inside(subjects, calibration):
    saved = replace(subjects("logistic").saved, calibration={**calibration, "threat_share": 0.3})
    raw, _ = exported(subject_of(saved, None))
    assert parity_of(raw)["max_dprobability"] < 1e-12


def test_numbers_alone_and_categories_alone(tmp_path):
    from jamba_ray.config.data import TableSection
    from jamba_ray.data import prepare

    frame = rows().assign(port=lambda f: f["service"].map({"http": 80, "dns": 53}).fillna(22))
    for kept in (["rate"], ["service"]):
        frame[[*kept, "is_threat"]].to_csv(tmp_path / "t.csv", index=False)
        prepared = prepare(TableSection(path=str(tmp_path / "t.csv")))
        for family in ("mlp", "logistic", "xgboost"):
            saved = SavedModel(train(model_of(family), prepared), {}, None)
            assert exported(subject_of(saved, frame[kept]))


@pytest.mark.parametrize("settings", [{"embedding": "periodic", "norm": "batch"}, {"pool": "mean"}])
def test_the_other_parts_of_networks(data, settings):
    family = "attention" if "pool" in settings else "mlp"
    saved = SavedModel(train(model_of(family, embedding="linear") | settings, data), {}, None)
    assert exported(subject_of(saved, None))


# --- files of others ---------------------------------------------------------------------------


def _foreign(files, change) -> bytes:
    model = onnx.load_model_from_string(files("logistic"))
    change(model)
    return model.SerializeToString()


def _of_another_domain(model):
    model.opset_import.append(onnx.helper.make_opsetid("com.example", 1))


def _in_other_files(model):
    constant = model.graph.initializer[0]
    constant.data_location = onnx.TensorProto.EXTERNAL
    constant.external_data.add(key="location", value="/etc/passwd")
    constant.ClearField("raw_data")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (_of_another_domain, "it has operators of 'com.example'"),
        (_in_other_files, "it (has parts in other files|is no ONNX model)"),
        (lambda m: m.ClearField("metadata_props"), "it is not of `jamba-ray export`"),
    ],
)
def test_a_file_of_others_is_refused(subjects, files, change, why):
    with pytest.raises(ConfigError, match=f"must be an ONNX file of this model, but {why}"):
        verified(subjects("logistic"), _foreign(files, change))


@pytest.mark.parametrize("raw", [b"", b"PK\x03\x04", b"\x08" * 1000])
def test_what_is_no_onnx_is_refused(subjects, raw):
    with pytest.raises(ConfigError, match="must be an ONNX file of this model"):
        verified(subjects("logistic"), raw)


def test_a_file_with_another_threshold_is_refused(subjects, files):
    saved = replace(subjects("logistic").saved, thresholds={"soc": {"threshold": 0.8}})
    with pytest.raises(ConfigError, match=r"its threshold 'soc' is 0\.7, and the run's is 0\.8"):
        verified(subject_of(saved, None), files("logistic"))


def test_a_file_of_another_model_is_refused(subjects, files):
    same_cuts = {"default": {"threshold": 0.4}, "soc": {"threshold": 0.7}}
    made = [
        subject_of(replace(subjects(n).saved, thresholds=same_cuts), None)
        for n in ("logistic", "lightgbm")
    ]
    with pytest.raises(ParityError, match="Export the model again"):
        verified(made[1], exported(made[0])[0])


def test_a_family_that_only_its_library_can_score_says_so(subjects, monkeypatch):
    monkeypatch.setattr(onnx_model, "_BOOSTED", ())
    with pytest.raises(ConfigError, match="'xgboost' cannot: only its own library knows"):
        exported(subjects("xgboost"))


class Other(Mlp):
    """A network that this package does not know."""


@pytest.mark.slow
def test_a_network_of_a_plug_in_is_exported_by_torch(subjects, monkeypatch):
    subject = subjects("mlp")
    logits = network_nodes.logits

    def as_other(g, module, *given):
        module.__class__ = Other
        return logits(g, module, *given)

    monkeypatch.setattr(network_nodes, "logits", as_other)
    raw, _ = exported(subject)
    assert any(n.name.startswith("/part") for n in onnx.load_model_from_string(raw).graph.node)


def test_inputs_never_have_the_name_of_an_output(subjects):
    names = preprocessing_nodes.input_names(subjects("mlp").predictor.preprocessing)
    assert names["score"] == "column score"
    assert names["bytes"] == "bytes"
    cells = cells_of(pd.DataFrame(rows()), subjects("mlp").predictor.preprocessing)
    assert set(cells) == set(names.values())
    assert len(TREES) == 5
