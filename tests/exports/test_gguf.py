"""GGUF files hold true K-quants, give a model again, and are refused where they cost too much."""

from __future__ import annotations

import ctypes
from dataclasses import replace

import gguf
import numpy as np
import pytest

from jamba_ray.errors import ConfigError, ParityError
from jamba_ray.exports import gguf_export, gguf_file
from jamba_ray.exports.gguf_export import KINDS, exported, load, made, table, verified
from jamba_ray.exports.k_quants import quantised
from jamba_ray.exports.subject import Limits
from tests.exports.conftest import rows

FREE = Limits(1.0, 1.0)
BYTES = {"Q4_K": 144, "Q5_K": 176, "Q8_0": 8 * 34}
OF_GGML = {"Q4_K": 0.07134, "Q5_K": 0.03619, "Q8_0": 0.005371}
"""Errors of ggml's own quantiser on the same values (ggml-python 0.0.45)."""


def normal() -> np.ndarray:
    values = np.random.default_rng(0).normal(size=256 * 400).astype(np.float32)
    values[:256], values[256:512] = 0, 0.5
    values[512:768] = -np.abs(values[512:768])
    values[768:1024] = np.abs(values[768:1024]) + 3
    return values


def read_by_gguf(packed: np.ndarray, kind: str) -> np.ndarray:
    rows_ = packed.reshape(400, -1)
    return gguf.dequantize(rows_, gguf.GGMLQuantizationType[kind]).ravel()


@pytest.mark.parametrize("kind", OF_GGML)
def test_the_gguf_package_reads_our_blocks_and_they_are_as_exact_as_ggmls(kind):
    values = normal()
    packed = quantised(values, kind)
    assert packed.nbytes == 400 * BYTES[kind]
    apart = np.sqrt(np.mean((read_by_gguf(packed, kind) - values) ** 2))
    assert apart < OF_GGML[kind] * 1.02
    assert not read_by_gguf(packed, kind)[:256].any()
    # The sabotage twin: parts whose scales are exchanged are another thing.
    wrong = packed.reshape(-1, packed.shape[1])[::-1]
    assert np.sqrt(np.mean((read_by_gguf(wrong.copy(), kind) - values) ** 2)) > 1.0


@pytest.mark.parametrize("kind", OF_GGML)
def test_ggmls_own_quantiser_gives_the_same_within_its_error(kind):
    ggml = pytest.importorskip("ggml")
    values = normal()
    theirs = np.zeros(400 * BYTES[kind], dtype=np.uint8)
    ggml.ggml_quantize_chunk(
        {"Q4_K": 12, "Q5_K": 13, "Q8_0": 8}[kind],
        values.ctypes.data_as(ctypes.POINTER(ctypes.c_float)),
        theirs.ctypes.data_as(ctypes.c_void_p),
        *(0, 400, 256, None),
    )
    apart = [
        np.sqrt(np.mean((read_by_gguf(one, kind) - values) ** 2))
        for one in (quantised(values, kind), theirs)
    ]
    assert apart[0] < apart[1] * 1.02


@pytest.mark.parametrize("quantization", KINDS)
def test_a_file_gives_the_model_again(subjects, quantization, tmp_path):
    subject = subjects("attention")
    raw, words = exported(subject, quantization, FREE)
    assert f"% {KINDS[quantization]}" in words
    assert verified(subject, raw, FREE) == words
    again = load(raw).predictor()
    frame = rows()
    apart = np.abs(again.predict_proba(frame) - subject.predictor.predict_proba(frame)).max()
    assert apart < {"q8_0": 0.01, "q5_k_m": 0.05, "q4_k_m": 0.1}[quantization]
    assert again.thresholds == subject.predictor.thresholds
    assert again.calibration == subject.predictor.calibration
    # What gguf alone reads: nearly all weights are of the type that the name promises.
    (tmp_path / "x.gguf").write_bytes(raw)
    tensors = gguf.GGUFReader(tmp_path / "x.gguf").tensors
    kinds = {t.name: t.tensor_type.name for t in tensors}
    assert kinds["blocks.0.attention.qkv.weight"] == KINDS[quantization]
    assert kinds["head.weight"] == "Q8_0"
    assert kinds["head.bias"] == "F32"


def test_what_costs_too_much_is_refused(subjects):
    with pytest.raises(ParityError, match=r"must turn at most 0\.00% of the verdicts"):
        exported(subjects("attention"), "q4_k_m", Limits(0.0, 0.0))


@pytest.mark.slow
def test_the_loss_is_measured_on_labelled_rows(subjects, data):
    subject = replace(subjects("mlp"), labelled=data.val)
    cost = made(subject, "q8_0")[1]
    assert cost.rows == len(data.val)
    assert cost.loss is not None
    assert cost.loss[1] <= cost.loss[0] <= cost.loss[2]
    assert abs(cost.loss[0]) < 0.05
    assert [row[0] for row in table(subjects("mlp"))] == ["q4_k_m", "q5_k_m", "q8_0"]


def test_other_weights_are_noticed(subjects, monkeypatch):
    """The sabotage twin: a matrix that is stored transposed costs more than any quantisation."""
    subject = subjects("attention")
    exact = gguf_file.written

    def transposed(weights, kinds, document):
        name = "blocks.0.attention.out.weight"
        turned = np.ascontiguousarray(weights[name].T)
        wrong = {**weights, name: turned, "head.weight": -weights["head.weight"]}
        return exact(wrong, kinds, document)

    monkeypatch.setattr(gguf_file, "written", transposed)
    with pytest.raises(ParityError):
        exported(subject, "q8_0", Limits(0.01, 0.01))


def test_trees_say_why_they_are_not_written(subjects):
    with pytest.raises(ConfigError, match="weights of one network, but the model is logistic"):
        exported(subjects("logistic"), "q8_0", FREE)


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"", "it is no GGUF file"),
        (b"PK\x03\x04", "it is no GGUF file"),
        (b"GGUF" + b"\xff" * 40, "it says that it has"),
        (b"GGUF\x03\x00\x00\x00" + b"\x01" + b"\x00" * 7 + b"\x01" + b"\x00" * 7, "damaged"),
    ],
)
def test_a_file_of_a_stranger_is_refused(subjects, raw, why):
    with pytest.raises(ConfigError, match=f"must be a GGUF file of this model, but .*{why}"):
        verified(subjects("mlp"), raw, FREE)


def test_a_file_that_is_cut_off_is_refused(subjects):
    raw, _ = exported(subjects("mlp"), "q8_0", FREE)
    for size in (100, len(raw) // 2, len(raw) - 40):
        with pytest.raises(ConfigError):
            verified(subjects("mlp"), raw[:size], FREE)
    assert gguf_export.FORMAT == 1
