"""K members in one stack train as each would alone, to 1e-5 on the loss curves in fp32.

Each claim has a sabotage twin: the same comparison must fail when members share what is their own.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from jamba_ray.training import engine as engine_room
from jamba_ray.training import fit
from jamba_ray.training.optimizer import StackedAdamW
from jamba_ray.training.row_order import Order
from tests.training.trials import Recorder, make_data, member

TOLERANCE = 1e-5
ATTENTION = {"name": "attention", "hidden_dim": 8, "n_heads": 2, "n_blocks": 1}
MLP = {"name": "mlp", "hidden_dim": 16, "token_dim": 4}
TABM = {"name": "tabm", "hidden_dim": 16, "token_dim": 4, "n_networks": 3}
OWN = [
    {"learning_rate": 1e-3, "weight_decay": 0.0, "grad_clip": 10.0, "warmup": 0.0},
    {"learning_rate": 1e-2, "weight_decay": 0.1, "threat_weight": 3.0, "warmup": 0.3},
    {
        "learning_rate": 3e-3,
        "label_smoothing": 0.1,
        "grad_clip": 0.05,
        "focal_gamma": 2.0,
        "threat_share": 0.6,
    },
    {"learning_rate": 5e-3, "threat_weight": "balanced", "weight_decay": 0.01},
]


def members_of(model, rates=(0.0, 0.0, 0.0, 0.0), **fields):
    return [
        member(
            t,
            model | {"dropout_rate": rate, "feature_masking": rate / 2},
            seed=100 + t,
            **own,
            **fields,
        )
        for t, (own, rate) in enumerate(zip(OWN, rates, strict=True))
    ]


def largest_difference(members, data, rule=None, keys=("train/loss", "val/loss")):
    """Over all members and reports, between the stack's curves and those of lone trials."""
    stacked = Recorder(rule)
    fit(members, data, stacked)
    worst = 0.0
    for m in members:
        alone = Recorder(rule)
        fit([m], data, alone)
        for key in keys:
            a, b = stacked.curve(m.trial, key), alone.curve(m.trial, key)
            assert len(a) == len(b)
            worst = max(worst, float(np.abs(a - b).max()))
    return worst


def keys_of(model):
    """Under batch norm the gradient of a bias before it is zero but for rounding, which AdamW blows
    up to whole steps; training is blind to that bias, validation sees it until its running mean
    follows. So validation curves are compared where there is no batch norm."""
    return ("train/loss", "val/loss") if model.get("norm") == "layer" else ("train/loss",)


@pytest.mark.parametrize("norm", ["layer", "batch"])
@pytest.mark.parametrize("model", [MLP, ATTENTION], ids=["mlp", "attention"])
def test_without_dropout(data, model, norm):
    # Two epochs: rounding grows with the steps (attention reached 1.2e-5 in the third).
    model = model | {"norm": norm}
    members = members_of(model, epochs=2.0)
    assert largest_difference(members, data, keys=keys_of(model)) < TOLERANCE


RATES = (0.1, 0.5, 0.0, 0.3)


@pytest.mark.parametrize("model", [MLP, ATTENTION, TABM], ids=["mlp", "attention", "tabm"])
def test_with_dropout_of_each_members_own_rate(data, model):
    assert largest_difference(members_of(model, RATES), data) < TOLERANCE


def prune_two(report):
    """Members 1 and 3 leave at different reports; the stack shrinks to 3, then to 2."""
    return "prune" if (report.trial, report.step) in {(1, 1), (3, 2)} else "continue"


def prune_all_but_one(report):
    """From 4 members to 1, which the engine then runs as a plain module."""
    return "prune" if report.trial != 2 and report.step == 2 else "continue"


@pytest.mark.parametrize("rule", [prune_two, prune_all_but_one])
@pytest.mark.parametrize("norm", ["layer", "batch"])
def test_after_neighbours_are_pruned(data, rule, norm):
    model = MLP | {"norm": norm}
    members = members_of(model, RATES)
    assert largest_difference(members, data, rule, keys_of(model)) < TOLERANCE


def test_epochs_that_the_batch_does_not_divide():
    model = MLP | {"norm": "layer"}
    assert largest_difference(members_of(model, RATES), make_data(397, 120)) < TOLERANCE


def test_outcomes_are_equal_too(data):
    members = members_of(MLP | {"norm": "layer"}, RATES)
    for together, m in zip(fit(members, data, Recorder()), members, strict=True):
        (alone,) = fit([m], data, Recorder())
        assert together.best_step == alone.best_step
        assert together.value == pytest.approx(alone.value, abs=1e-4)
        for name, array in together.checkpoint.tensors.items():
            if name.startswith("model/"):
                np.testing.assert_allclose(array, alone.checkpoint.tensors[name], atol=1e-4)


PLATEAU = {"schedule": "plateau", "patience": 1, "epochs": 4.0, "report_rows": 200}


def test_members_whose_rates_are_lowered_one_by_one(data):
    """Each goes back to its best weights, cools and leaves at reports of its own."""
    members = members_of(MLP | {"norm": "layer"}, RATES, **PLATEAU)
    assert largest_difference(members, data) < TOLERANCE
    outcomes = fit(members, data, Recorder())
    began = {o.checkpoint.documents["state"]["cooling_from"] for o in outcomes}
    assert len(began) > 1
    assert len({o.rows_seen for o in outcomes}) > 1


class Queue:
    """Gives members to a stack one at a time, as slots become free."""

    def __init__(self, waiting):
        self.waiting, self.joined = list(waiting), []

    def __call__(self):
        taken = self.waiting[:1]
        del self.waiting[:1]
        self.joined += taken
        return [(m, None) for m in taken]


def largest_difference_with_joiners(members, data, rule, keys=("train/loss", "val/loss")):
    """``largest_difference`` where the first two members begin and the others take the slots of
    those that are pruned."""
    stacked, queue = Recorder(rule), Queue(members[2:])
    outcomes = fit(members[:2], data, stacked, join=queue)
    assert [o.trial for o in outcomes[:2]] == [m.trial for m in members[:2]]
    assert sorted(o.trial for o in outcomes) == [m.trial for m in members]
    assert [m.trial for m in queue.joined] == [m.trial for m in members[2:]]
    worst = 0.0
    for m in members:
        alone = Recorder(rule)
        fit([m], data, alone)
        assert [r.rows_seen for r in stacked.of(m.trial)] == [r.rows_seen for r in alone.reports]
        for key in keys:
            a, b = stacked.curve(m.trial, key), alone.curve(m.trial, key)
            worst = max(worst, float(np.abs(a - b).max()))
    return worst


def prune_early(report):
    """Member 1 leaves first, then the one that took its place."""
    return "prune" if (report.trial, report.step) in {(1, 1), (2, 1)} else "continue"


@pytest.mark.parametrize("norm", ["layer", "batch"])
@pytest.mark.parametrize("report_rows", [500, 100], ids=["in step", "out of step"])
def test_members_that_join_late(data, norm, report_rows):
    """Also where report boundaries of members lie at different batches (100 rows are not a whole
    number of batches of 64)."""
    model = MLP | {"norm": norm}
    members = members_of(model, RATES, epochs=2.0, report_rows=report_rows)
    assert largest_difference_with_joiners(members, data, prune_early, keys_of(model)) < TOLERANCE


# --- sabotage ---------------------------------------------------------------------------------

SABOTAGED = MLP | {"norm": "layer"}


def test_sabotage_shared_data_order(data, monkeypatch):
    true = Order.rows
    monkeypatch.setattr(
        Order, "rows", lambda self, first, n: true(self, first, n)[:1].expand(len(self._seeds), -1)
    )
    assert largest_difference(members_of(SABOTAGED), data) > 100 * TOLERANCE


def test_sabotage_shared_learning_rate(data, monkeypatch):
    true = StackedAdamW.step

    def step(self, parameters, gradients, lr, decay, sound=None):
        true(self, parameters, gradients, lr[:1].expand_as(lr), decay, sound)

    monkeypatch.setattr(StackedAdamW, "step", step)
    assert largest_difference(members_of(SABOTAGED), data) > 100 * TOLERANCE


def test_sabotage_shared_clipping(data, monkeypatch):
    def clip(gradients, limit):
        norm = torch.linalg.vector_norm(gradients)
        gradients.mul_((limit / (norm + 1e-6)).clamp_(max=1.0))

    monkeypatch.setattr(engine_room, "clip_", clip)
    assert largest_difference(members_of(SABOTAGED), data) > 10 * TOLERANCE


def test_sabotage_shared_masks(data, monkeypatch):
    true = engine_room.interval

    def shared(*arguments):
        plan = true(*arguments)
        for keys in plan.keys:
            keys.copy_(keys[:1].expand_as(keys))
        return plan

    monkeypatch.setattr(engine_room, "interval", shared)
    assert largest_difference(members_of(SABOTAGED, RATES), data) > 100 * TOLERANCE


def test_sabotage_moments_stay_behind_when_a_neighbour_leaves(data, monkeypatch):
    true = StackedAdamW.keep

    def keep(self, members):
        true(self, list(range(len(members))))

    monkeypatch.setattr(StackedAdamW, "keep", keep)
    members = members_of(SABOTAGED)
    assert largest_difference(members, data, prune_two) > 10 * TOLERANCE


def test_sabotage_joiners_at_their_neighbours_position(data, monkeypatch):
    true = engine_room.interval

    def interval(configs, first, *rest):
        return true(configs, [first[0]] * len(first), *rest)

    monkeypatch.setattr(engine_room, "interval", interval)
    members = members_of(SABOTAGED, RATES, epochs=2.0)
    assert largest_difference_with_joiners(members, data, prune_early) > 100 * TOLERANCE


def test_sabotage_joiners_in_their_neighbours_data_order(data, monkeypatch):
    true = Order.rows

    def rows(self, first, n):
        return true(self, [first[0]] * len(first), n)

    monkeypatch.setattr(Order, "rows", rows)
    members = members_of(SABOTAGED, epochs=2.0)
    assert largest_difference_with_joiners(members, data, prune_early) > 100 * TOLERANCE
