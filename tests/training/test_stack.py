from __future__ import annotations

import pytest
import torch

from jamba_ray.models import attention, build
from jamba_ray.training.stack import Layout, Stack
from tests.training.trials import make_config

BATCH_NORM = {"norm": "batch"}
MODELS = [
    {"name": "mlp", "hidden_dim": 16} | BATCH_NORM,
    {"name": "attention", "hidden_dim": 8, "n_heads": 2, "n_blocks": 1} | BATCH_NORM,
]


def stack_of(data, model, seeds) -> Stack:
    return Stack([build(make_config(model).model, data.schema, seed=s) for s in seeds], "cpu")


def rows(data, seeds):
    x_num = torch.stack([torch.from_numpy(data.train.x_num[s : s + 32]) for s in seeds])
    x_cat = torch.stack([torch.from_numpy(data.train.x_cat[s : s + 32]) for s in seeds])
    return x_num, x_cat


@pytest.mark.parametrize("model", MODELS)
def test_logits_and_gradients_are_those_of_the_plain_module(data, model):
    stack = stack_of(data, model, [4, 5])
    x_num, x_cat = rows(data, [0, 9])
    logits = stack.forward(x_num, x_cat)
    gradients = stack.gradients(logits.square().mean(dim=1).sum())
    for k, seed in enumerate([4, 5]):
        module = build(make_config(model).model, data.schema, seed=seed)
        plain = module(x_num[k], x_cat[k])
        plain.square().mean().backward()
        torch.testing.assert_close(logits[k], plain)
        named = dict(module.named_parameters())
        for name, gradient in stack.layout.views(gradients[k]).items():
            torch.testing.assert_close(gradient, named[name].grad, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("model", MODELS)
def test_batch_statistics_are_each_members_own(data, model):
    stack, alone = stack_of(data, model, [4, 5]), stack_of(data, model, [5])
    x_num, x_cat = rows(data, [0, 9])
    stack.forward(x_num, x_cat)
    alone.forward(x_num[1:], x_cat[1:])
    assert any("running_var" in name for name in alone.buffers)
    for name in alone.state(0):
        torch.testing.assert_close(stack.state(1)[name], alone.state(0)[name])


def test_state_is_a_copy_under_the_names_of_state_dict(data):
    stack = stack_of(data, MODELS[0], [1])
    module = build(make_config(MODELS[0]).model, data.schema, seed=1)
    state = stack.state(0)
    assert state.keys() == module.state_dict().keys()
    stack.flat.zero_()
    for name, tensor in module.state_dict().items():
        assert torch.equal(state[name], tensor)
    stack.load(0, state)
    assert all(torch.equal(stack.state(0)[n], t) for n, t in state.items())


@pytest.mark.parametrize("kept", [[2], [0, 2]])
def test_those_that_stay_are_unchanged_when_others_leave(data, kept):
    stack = stack_of(data, MODELS[0], [1, 2, 3])
    stack.train(False)
    x_num, x_cat = rows(data, [0, 5, 9])
    before = stack.forward(x_num, x_cat)
    stack.keep(kept)
    assert stack.size == len(kept)
    torch.testing.assert_close(stack.forward(x_num[kept], x_cat[kept]), before[kept])
    stack.forward(x_num[kept], x_cat[kept]).sum().backward()


def test_weights_depend_on_the_seed_alone(data):
    torch.manual_seed(1)
    a = stack_of(data, MODELS[0], [7, 8])
    torch.manual_seed(2)
    torch.rand(5)
    before = torch.random.get_rng_state()
    b = stack_of(data, MODELS[0], [8])
    assert torch.equal(a.flat[1], b.flat[0])
    assert not torch.equal(a.flat[0], a.flat[1])
    assert torch.equal(torch.random.get_rng_state(), before)


def test_only_tensors_of_two_dimensions_decay(data):
    module = build(make_config(MODELS[1]).model, data.schema, seed=0)
    layout = Layout.of(module)
    decayed = {slot.name for slot in layout.slots if slot.start < layout.n_decayed}
    assert decayed == {n for n, p in module.named_parameters() if p.ndim >= 2}


def test_an_ordinary_module_with_torchs_own_dropout_still_stacks():
    class Plain(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.dropout = torch.nn.Linear(4, 1), torch.nn.Dropout(0.5)

        def forward(self, x_num, x_cat):
            return self.dropout(self.layer(x_num)).squeeze(-1)

    stack = Stack([Plain(), Plain()], "cpu")
    logits = stack.forward(torch.ones(2, 64, 4), torch.zeros(2, 64, 0, dtype=torch.int64))
    assert logits.shape == (2, 64)
    assert (logits == 0).any()
    assert (logits != 0).any()


def test_fused_attention_of_many_tokens_equals_the_plain_one_of_a_stack(data, monkeypatch):
    """Alone a wide table takes torch's fused attention, in a stack it cannot."""
    calls = []
    fused = attention.functional.scaled_dot_product_attention
    monkeypatch.setattr(
        attention.functional,
        "scaled_dot_product_attention",
        lambda *qkv: calls.append(qkv[0].shape) or fused(*qkv),
    )
    x_num, x_cat = rows(data, [0, 9])
    stack = stack_of(data, MODELS[1], [4, 5])
    results = {}
    for many in (10_000, 2):
        monkeypatch.setattr(attention, "MANY_TOKENS", many)
        alone = stack_of(data, MODELS[1], [5])
        logits = alone.forward(x_num[1:], x_cat[1:])
        results[many] = logits, alone.gradients(logits.square().mean(dim=1).sum())
    assert len(calls) == 1, "alone, and where there are many"
    together = stack.forward(x_num, x_cat)
    gradients = stack.gradients(together.square().mean(dim=1).sum())
    assert len(calls) == 1, "never in a stack"
    for logits, gradient in results.values():
        torch.testing.assert_close(together[1:], logits, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(gradients[1:], gradient, atol=1e-5, rtol=1e-4)
    stack.keep([1])
    stack.forward(x_num[1:], x_cat[1:])
    assert len(calls) == 2, "the last one of a stack is alone"
