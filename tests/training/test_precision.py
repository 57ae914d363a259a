from __future__ import annotations

import numpy as np
import pytest
import torch

from jamba_ray.training import fit
from jamba_ray.training.precision import LossScaler, resolve
from jamba_ray.training.stack import Stack
from tests.training.trials import Recorder, member


@pytest.mark.parametrize(
    ("setting", "device", "has_bf16", "name"),
    [
        ("auto", "cuda", True, "bf16"),
        ("auto", "cuda", False, "fp32"),
        ("auto", "cpu", False, "fp32"),
        ("fp16", "cpu", False, "fp16"),
        ("fp32", "cuda", True, "fp32"),
    ],
)
def test_auto_takes_bf16_only_where_it_is_native(setting, device, has_bf16, name):
    decided = resolve(setting, device, has_bf16=has_bf16)
    assert decided.name == name
    assert decided.reason


def test_scale_halves_on_overflow_and_doubles_after_clean_steps_per_member():
    scaler = LossScaler(2, "cpu")
    gradients = torch.tensor([[1.0, float("inf")], [65536.0, 0.0]])
    sound = scaler.unscale_(gradients)
    scaler.update(sound)
    assert sound[:, 0].tolist() == [False, True]
    assert gradients.tolist() == [[0.0, 0.0], [1.0, 0.0]]
    assert scaler.scale[:, 0].tolist() == [32768.0, 65536.0]
    for _ in range(LossScaler.INTERVAL - 1):
        scaler.update(torch.tensor([[True], [True]]))
    assert scaler.scale[:, 0].tolist() == [32768.0, 131072.0]


def test_scaler_state_survives_json():
    scaler, other = LossScaler(2, "cpu"), LossScaler(1, "cpu")
    scaler.update(torch.tensor([[False], [True]]))
    other.load(0, scaler.state(1))
    assert other.state(0) == {"scale": 65536.0, "clean_steps": 1}


@pytest.mark.parametrize(("precision", "tolerance"), [("bf16", 0.02), ("fp16", 0.02)])
@pytest.mark.parametrize("size", [1, 2])
def test_half_precision_trains_within_two_percent_of_fp32(data, precision, tolerance, size):
    curves = {}
    for setting in ("fp32", precision):
        recorder = Recorder()
        members = [member(t, precision=setting) for t in range(size)]
        assert all(o.state == "complete" for o in fit(members, data, recorder))
        keys = ("train/loss", "val/loss", "val/average_precision")
        curves[setting] = np.array([recorder.curve(0, key) for key in keys])
    np.testing.assert_allclose(curves[precision], curves["fp32"], rtol=tolerance)
    assert (curves[precision] != curves["fp32"]).any(axis=1).all(), "the setting had no effect"


def test_fp16_skips_the_step_of_the_member_that_overflows_and_recovers(data, monkeypatch):
    """An infinity is put into one member's gradient in its third batch."""
    true_gradients, calls, saved = Stack.gradients, [], {}

    def with_infinity(self, loss):
        gradients = true_gradients(self, loss)
        calls.append(1)
        if len(calls) == 3:
            gradients[0, 5] = float("inf")
        return gradients

    monkeypatch.setattr(Stack, "gradients", with_infinity)
    members = [member(t, precision="fp16") for t in (0, 1)]
    outcomes = fit(members, data, Recorder(), save=lambda t, s: saved.setdefault(t, s))
    assert [o.state for o in outcomes] == ["complete", "complete"]
    n = saved[0].documents["state"]["batches"]
    states = [saved[t].documents["state"] for t in (0, 1)]
    assert [s["optimizer"]["steps"] for s in states] == [n - 1, n]
    assert states[0]["scaler"] == {"scale": 32768.0, "clean_steps": n - 3}
    assert states[1]["scaler"] == {"scale": 65536.0, "clean_steps": n}


def test_fp16_that_always_overflows_fails_with_a_way_out(data, monkeypatch):
    monkeypatch.setattr(
        Stack, "gradients", lambda self, loss: torch.full_like(self.flat, float("inf"))
    )
    (outcome,) = fit([member(0, precision="fp16", epochs=30)], data, Recorder())
    assert outcome.state == "failed"
    assert outcome.reason is not None
    assert "precision=bf16" in outcome.reason
