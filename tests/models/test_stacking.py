"""K members under vmap equal K modules alone: outputs, gradients, batch-norm statistics, masks."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.func import functional_call, grad_and_value, stack_module_state, vmap

from jamba_ray import models
from jamba_ray.config.family import FAMILIES
from jamba_ray.models.dropout import key_names, step_keys
from tests.models.rows import rows_of, schema_of
from tests.models.test_families import GRADIENT, loss_of

K = 3
RATES = (0.0, 0.2, 0.6)
CHOICES = [{"norm": "batch"}, {"norm": "layer"}, {"embedding": "periodic"}]
CASES = [(f, c) for f in GRADIENT for c in CHOICES if c.keys() <= FAMILIES[f].model_fields.keys()]
BATCH_NORM = {f: {"norm": "batch"} for f in GRADIENT if "norm" in FAMILIES[f].model_fields}
SABOTAGES = [
    *(
        (family, sabotage)
        for family in GRADIENT
        for sabotage in ("neighbours_key", "neighbours_rate")
    ),
    *((family, "neighbours_statistics") for family in BATCH_NORM),
]


class Stacked:
    """K members, their rows, and one training step of all or of one."""

    def __init__(self, family: str, choices: dict, n_members: int = K) -> None:
        self.schema = schema_of()
        self.members = [
            models.build(
                FAMILIES[family](dropout_rate=r, feature_masking=r / 2, **choices),
                self.schema,
                seed=k,
            )
            for k, r in enumerate(RATES[:n_members])
        ]
        self.template = copy.deepcopy(self.members[0]).to("meta")
        self.parameters, self.buffers = stack_module_state(self.members)
        self.keys = step_keys(range(n_members), step=5)
        rows = [rows_of(self.schema, 48, seed=k) for k in range(n_members)]
        self.x_num, self.x_cat, self.y = (torch.stack(part) for part in zip(*rows, strict=True))

    def set_keys(self, keys: torch.Tensor) -> None:
        for name in key_names(self.template):
            self.buffers[name] = keys

    def loss(self, parameters, buffers, x_num, x_cat, y):
        logits = functional_call(self.template, (parameters, buffers), (x_num, x_cat))
        return loss_of(logits, y), logits

    def together(self):
        step = vmap(grad_and_value(self.loss, has_aux=True))
        gradients, (_, logits) = step(self.parameters, self.buffers, self.x_num, self.x_cat, self.y)
        return gradients, logits

    def alone(self, k: int):
        """The module as anyone would call it, without torch.func."""
        module = self.members[k]
        for name in key_names(module):
            module.get_buffer(name).fill_(int(self.keys[k]))
        logits = module(self.x_num[k], self.x_cat[k])
        loss_of(logits, self.y[k]).backward()
        return {name: p.grad for name, p in module.named_parameters()}, logits


@pytest.mark.parametrize(("family", "choices"), CASES, ids=str)
def test_members_stacked_equal_members_alone(family, choices):
    stacked = Stacked(family, choices)
    stacked.set_keys(stacked.keys)
    gradients, logits = stacked.together()
    for k in range(K):
        expected_gradients, expected = stacked.alone(k)
        torch.testing.assert_close(logits[k], expected, rtol=1e-5, atol=1e-5)
        for name, expected_gradient in expected_gradients.items():
            torch.testing.assert_close(gradients[name][k], expected_gradient, rtol=1e-4, atol=1e-5)
        for name, buffer in stacked.members[k].named_buffers():
            torch.testing.assert_close(stacked.buffers[name][k], buffer, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("family", "sabotage"), SABOTAGES)
def test_sabotage_the_equality_can_fail(family, sabotage):
    """The twin: a member is given one thing of its neighbour's; the comparison must see it."""
    stacked = Stacked(family, BATCH_NORM.get(family, {}))
    stacked.set_keys(stacked.keys.roll(1) if sabotage == "neighbours_key" else stacked.keys)
    for name, buffer in stacked.buffers.items():
        if sabotage == "neighbours_rate" and name.endswith(".rate"):
            stacked.buffers[name] = buffer.roll(1, 0)
    _, logits = stacked.together()
    if sabotage == "neighbours_statistics":
        name = next(n for n in stacked.buffers if n.endswith("running_mean"))
        stacked.alone(1)
        with pytest.raises(AssertionError):
            torch.testing.assert_close(
                stacked.buffers[name][0], stacked.members[1].get_buffer(name), rtol=1e-5, atol=1e-5
            )
        return
    _, expected = stacked.alone(1)
    with pytest.raises(AssertionError):
        torch.testing.assert_close(logits[1], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("family", GRADIENT)
def test_a_stack_of_one_is_the_module(family):
    stacked = Stacked(family, {}, n_members=1)
    stacked.set_keys(stacked.keys)
    _, logits = stacked.together()
    _, expected = stacked.alone(0)
    torch.testing.assert_close(logits[0], expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("family", GRADIENT)
def test_a_member_does_not_depend_on_its_neighbours(family):
    """The same member in a stack of three and in a stack of two."""
    three, two = Stacked(family, {}), Stacked(family, {}, n_members=2)
    for stacked in (three, two):
        stacked.set_keys(stacked.keys)
    torch.testing.assert_close(three.together()[1][:2], two.together()[1], rtol=1e-5, atol=1e-6)
