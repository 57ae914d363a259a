from __future__ import annotations

import pytest
import torch

from jamba_ray.training.optimizer import StackedAdamW, clip_

LR, DECAY, CLIP = [1e-3, 3e-2, 0.2], [0.0, 0.1, 0.5], [1e9, 1.0, 0.1]
P, N_DECAYED, STEPS = 24, 16, 40


def column(values):
    return torch.tensor(values, dtype=torch.float32)[:, None]


def gradients(step: int) -> torch.Tensor:
    return torch.randn(3, P, generator=torch.Generator().manual_seed(step))


def torch_adamw(k: int, skip=()) -> torch.Tensor:
    """Member k trained by torch's own optimizer and clipping."""
    start = torch.linspace(-1, 1, P)
    decayed = torch.nn.Parameter(start[:N_DECAYED].clone())
    plain = torch.nn.Parameter(start[N_DECAYED:].clone())
    groups = [
        {"params": [decayed], "weight_decay": DECAY[k]},
        {"params": [plain], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=LR[k], foreach=False)
    for step in range(STEPS):
        if step in skip:
            continue
        grad = gradients(step)[k]
        decayed.grad, plain.grad = grad[:N_DECAYED].clone(), grad[N_DECAYED:].clone()
        torch.nn.utils.clip_grad_norm_([decayed, plain], CLIP[k])
        optimizer.step()
    return torch.cat([decayed, plain]).detach()


def stacked(skips=None, lr=LR, shared_step=False) -> torch.Tensor:
    optimizer = StackedAdamW(3, P, N_DECAYED, "cpu")
    weights = torch.linspace(-1, 1, P).repeat(3, 1)
    rate = column(lr)
    for step in range(STEPS):
        grad = gradients(step)
        sound = None
        if skips is not None:
            sound = torch.tensor([[step not in skip] for skip in skips])
            grad.masked_fill_(~sound, 0.0)
        clip_(grad, column(CLIP))
        optimizer.step(weights, grad, rate, rate * column(DECAY), sound)
        if shared_step:
            optimizer.steps[:] = optimizer.steps.max()
    return weights


@pytest.mark.parametrize("k", range(3))
def test_each_member_gets_the_update_of_torch_adamw(k):
    torch.testing.assert_close(stacked()[k], torch_adamw(k), rtol=1e-5, atol=1e-6)


SKIPS = [(0, 1, 2), (), (5, 39)]


@pytest.mark.parametrize("k", range(3))
def test_a_skipped_step_skips_one_member_whole(k):
    expected = torch_adamw(k, SKIPS[k])
    torch.testing.assert_close(stacked(SKIPS)[k], expected, rtol=1e-5, atol=1e-6)


def test_sabotage_a_shared_learning_rate_is_seen():
    assert (stacked(lr=[LR[0]] * 3)[1] - torch_adamw(1)).abs().max() > 1e-3


def test_sabotage_a_shared_step_count_is_seen():
    difference = stacked(SKIPS, shared_step=True)[0] - torch_adamw(0, SKIPS[0])
    assert difference.abs().max() > 1e-5


def test_a_skipped_member_stays_bit_for_bit():
    optimizer = StackedAdamW(2, P, N_DECAYED, "cpu")
    weights = torch.linspace(-1, 1, P).repeat(2, 1)
    before = weights.clone()
    sound = torch.tensor([[False], [True]])
    grad = gradients(0)[:2].masked_fill_(~sound, 0.0)
    optimizer.step(weights, grad, column([0.1, 0.1]), column([0.01, 0.01]), sound)
    assert torch.equal(weights[0], before[0])
    assert not torch.equal(weights[1], before[1])
    assert optimizer.steps[:, 0].tolist() == [0.0, 1.0]


def test_members_that_stay_keep_their_state():
    optimizer = StackedAdamW(3, P, N_DECAYED, "cpu")
    weights = torch.linspace(-1, 1, P).repeat(3, 1)
    rate, decay = column(LR), column(LR) * column(DECAY)
    for step in range(STEPS):
        grad = gradients(step)
        if step == 10:
            optimizer.keep([2])
            weights, rate, decay = weights[[2]], rate[[2]], decay[[2]]
        grad = grad if step < 10 else grad[[2]]
        clip_(grad, column(CLIP)[-len(grad) :])
        optimizer.step(weights, grad, rate, decay)
    torch.testing.assert_close(weights[0], torch_adamw(2), rtol=1e-5, atol=1e-6)
