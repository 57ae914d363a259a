"""A compiled step trains as an uncompiled one: fp32 to 1e-5 on the loss curves, masks and all.

Compiling takes seconds per case, so all of this is marked slow.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from jamba_ray.models.dropout import Dropout
from jamba_ray.training import fit
from jamba_ray.training.stack import Stack
from tests.training.trials import Recorder, member

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]

TOLERANCE = 1e-5
ATTENTION = {"name": "attention", "hidden_dim": 8, "n_heads": 2, "norm": "layer"}
MLP = {"name": "mlp", "hidden_dim": 16, "token_dim": 4, "norm": "layer"}
TABM = {"name": "tabm", "hidden_dim": 16, "token_dim": 4, "n_networks": 3}
RATES = (0.1, 0.4, 0.0, 0.2)


@pytest.fixture(autouse=True)
def nothing_compiled_yet():
    torch._dynamo.reset()


def halve(report):
    """Two of four are pruned after their first report, so the rest runs in padded rows."""
    return "prune" if report.trial >= 2 and report.step == 1 else "continue"


def difference(model, n_members, data, rule=None):
    """Largest between compiled and eager loss curves; under batch norm of the training loss only,
    for the reason that ``test_stacked_equals_alone.keys_of`` gives."""
    keys = ("train/loss", "val/loss") if model.get("norm") != "batch" else ("train/loss",)
    curves = {}
    for setting in (True, False):
        recorder = Recorder(rule)
        members = [
            member(t, model | {"dropout_rate": RATES[t]}, seed=t, epochs=2.0, compile=setting)
            for t in range(n_members)
        ]
        outcomes = fit(members, data, recorder)
        assert outcomes[0].checkpoint.documents["state"]["compiled"] is setting
        curves[setting] = np.concatenate(
            [recorder.curve(t, key) for t in range(n_members) for key in keys]
        )
    return float(np.abs(curves[True] - curves[False]).max())


@pytest.mark.parametrize("model", [MLP, ATTENTION, TABM], ids=["mlp", "attention", "tabm"])
@pytest.mark.parametrize("n_members", [1, 4])
def test_compiled_equals_eager(data, model, n_members):
    assert difference(model, n_members, data) < TOLERANCE


@pytest.mark.parametrize("norm", ["layer", "batch"])
def test_after_neighbours_left(data, norm):
    assert difference(MLP | {"norm": norm}, 4, data, halve) < TOLERANCE


def grown(setting, data):
    """Curves of four members, one of which begins alone, not compiled; a second joins it after its
    first report, and two more after the next."""
    recorder, late = Recorder(), [[2, 3], [1]]

    def join():
        return [(made(t), None) for t in late.pop()] if late else []

    def made(trial):
        rate = {"dropout_rate": RATES[trial]}
        return member(trial, MLP | rate, seed=trial, epochs=2.0, compile=setting)

    outcomes = fit([made(0)], data, recorder, join=join, at_a_time=4)
    assert all(o.checkpoint.documents["state"]["compiled"] is setting for o in outcomes)
    return np.concatenate([recorder.curve(t, "val/loss") for t in range(4)])


def test_a_stack_that_grows_into_what_is_compiled(data, monkeypatch):
    compiled_for = []
    right = Stack.compile

    def spy(self, x_num, x_cat, n_rows):
        compiled_for.append((self.size, n_rows))
        right(self, x_num, x_cat, n_rows)

    monkeypatch.setattr(Stack, "compile", spy)
    difference = np.abs(grown(True, data) - grown(False, data)).max()
    assert compiled_for == [(2, 4)], "once, with two of four"
    assert difference < TOLERANCE


def test_a_stack_that_stays_too_small_says_that_it_is_not_compiled(data):
    (outcome,) = fit([member(0, MLP, compile=True)], data, Recorder(), at_a_time=4)
    state = outcome.checkpoint.documents["state"]
    assert state["compiled"] is False
    assert "fewer train at a time" in state["compiled_reason"]


def test_sabotage_other_masks(data, monkeypatch):
    """As torch 2.13 would give them: it multiplies a dimensionless int32 under vmap in float32."""
    right = Dropout.mask

    def wrong(self, shape, *rest):
        if not torch.compiler.is_compiling():
            return right(self, shape, *rest)
        return 1 - right(self, shape, *rest)

    monkeypatch.setattr(Dropout, "mask", wrong)
    assert difference(MLP, 4, data) > TOLERANCE
