"""A compiled step trains as an uncompiled one: fp32 to 1e-5 on the loss curves, masks and all.

Compiling takes seconds per case, so all of this is marked slow.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from jamba_ray.models.dropout import Dropout
from jamba_ray.training import fit
from tests.training.trials import Recorder, member

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]

TOLERANCE = 1e-5
ATTENTION = {"name": "attention", "hidden_dim": 8, "n_heads": 2, "norm": "layer"}
MLP = {"name": "mlp", "hidden_dim": 16, "token_dim": 4, "norm": "layer"}
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
    keys = ("train/loss", "val/loss") if model["norm"] == "layer" else ("train/loss",)
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


@pytest.mark.parametrize("model", [MLP, ATTENTION], ids=["mlp", "attention"])
@pytest.mark.parametrize("n_members", [1, 4])
def test_compiled_equals_eager(data, model, n_members):
    assert difference(model, n_members, data) < TOLERANCE


@pytest.mark.parametrize("norm", ["layer", "batch"])
def test_after_neighbours_left(data, norm):
    assert difference(MLP | {"norm": norm}, 4, data, halve) < TOLERANCE


def test_sabotage_other_masks(data, monkeypatch):
    """As torch 2.13 would give them: it multiplies a dimensionless int32 under vmap in float32."""
    right = Dropout.mask

    def wrong(self, shape, *rest):
        if not torch.compiler.is_compiling():
            return right(self, shape, *rest)
        return 1 - right(self, shape, *rest)

    monkeypatch.setattr(Dropout, "mask", wrong)
    assert difference(MLP, 4, data) > TOLERANCE
