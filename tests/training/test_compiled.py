"""Whether the step is compiled: a decision from what is known before the first batch."""

from __future__ import annotations

import pytest

from jamba_ray.training import fit
from jamba_ray.training import stack as stack_room
from jamba_ray.training.compiled import WORTH_STEPS, WORTH_STEPS_ALONE, decide
from tests.training.trials import Recorder, make_data, member

LONG_STACK = {
    "device_type": "cpu",
    "number_format": "fp32",
    "size": 16,
    "n_steps": WORTH_STEPS,
    "has_compiler": True,
    "in_parts": False,
}


def test_auto_compiles_a_stack_that_trains_for_long():
    assert decide("auto", **LONG_STACK).on


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"n_steps": WORTH_STEPS - 1}, "too few"),
        ({"size": 1}, "too few"),
        ({"size": 1, "n_steps": WORTH_STEPS_ALONE - 1}, "too few"),
        ({"has_compiler": False}, "no C++ compiler"),
        ({"in_parts": True}, "parts"),
        ({"device_type": "cuda"}, "not been measured"),
    ],
)
def test_auto_does_not_otherwise_and_says_why(change, why):
    choice = decide("auto", **LONG_STACK | change)
    assert not choice.on
    assert why in choice.reason


def test_one_model_in_bf16_is_worth_it():
    assert decide("auto", **LONG_STACK | {"size": 1, "number_format": "bf16"}).on


def test_one_model_in_fp32_is_worth_it_where_it_trains_for_very_long():
    assert decide("auto", **LONG_STACK | {"size": 1, "n_steps": WORTH_STEPS_ALONE}).on


def test_a_wish_wins_over_the_gain_but_not_over_what_is_missing():
    assert decide(True, **LONG_STACK | {"n_steps": 1, "size": 1}).on
    assert not decide(True, **LONG_STACK | {"has_compiler": False}).on
    assert not decide(False, **LONG_STACK).on


def test_what_cannot_be_compiled_trains_as_ever(monkeypatch):
    def broken(function):
        def call(*args):
            raise RuntimeError("no kernel for this\nand a long trace")

        return call

    monkeypatch.setattr(stack_room, "compiled", broken)
    data, curves = make_data(), []
    for setting in (True, False):
        recorder = Recorder()
        (outcome,) = fit(
            [member(0, {"name": "mlp", "hidden_dim": 8}, epochs=0.5, compile=setting)],
            data,
            recorder,
        )
        curves.append(recorder.curve(0, "val/loss").tolist())
        state = outcome.checkpoint.documents["state"]
        assert state["compiled"] is False
        if setting:
            assert state["compiled_reason"].endswith("RuntimeError: no kernel for this")
    assert curves[0] == curves[1]
