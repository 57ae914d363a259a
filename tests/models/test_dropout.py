"""Masks are a function of (key, layer, element): uniform, independent, exact, equal under vmap."""

from __future__ import annotations

import math

import pytest
import torch
from torch.func import vmap

from jamba_ray.models.dropout import (
    Dropout,
    hash_bits,
    key_names,
    number_layers,
    step_key,
    step_keys,
)

N = 1 << 18


def _dropout(rate: float, seed: int = 0, step: int = 0, layer: int = 1) -> Dropout:
    dropout = Dropout(rate)
    dropout.layer = layer
    dropout.key = step_keys([seed], step)[0]
    return dropout


def _bits(seed: int, step: int, layer: int, n: int = N) -> torch.Tensor:
    return hash_bits(step_keys([seed], step)[0], layer, n)


def _sigmas(a: torch.Tensor, b: torch.Tensor) -> float:
    """Correlation of two 0/1 sequences in units of its standard deviation under independence."""
    a, b = a.double() - a.double().mean(), b.double() - b.double().mean()
    return float((a * b).mean() / (a.std() * b.std())) * math.sqrt(a.numel())


@pytest.mark.parametrize("seed", range(4))
def test_hash_is_uniform_over_256_bins(seed):
    """Chi-square with 255 degrees: the limit of 370 fails a perfect hash once in 250,000."""
    top = (_bits(seed, step=17, layer=2) >> 24).long() + 128
    counts = torch.bincount(top, minlength=256).double()
    assert float(((counts - N / 256) ** 2 / (N / 256)).sum()) < 370


@pytest.mark.parametrize("rate", [0.0, 0.003, 0.1, 0.5, 0.9])
def test_rate_is_exact(rate):
    """Within 5 standard deviations (a false alarm once in two million), and exactly at 0."""
    dropped = sum(N - int(_dropout(rate, step=s).mask(torch.Size([N])).sum()) for s in range(16))
    n = 16 * N
    assert abs(dropped - n * rate) <= 5 * math.sqrt(n * rate * (1 - rate))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((0, 0, 1), (0, 1, 1)),
        ((0, 7, 1), (0, 8, 1)),
        ((0, 7, 1), (0, 7, 2)),
        ((0, 7, 2), (0, 8, 1)),
        ((0, 7, 1), (1, 7, 1)),
        ((1, 0, 1), (0, 1, 1)),
        ((3, 2**33, 1), (3, 0, 1)),
    ],
)
def test_steps_layers_and_members_are_independent(one, other):
    a, b = _bits(*one) >= 0, _bits(*other) >= 0
    assert abs(_sigmas(a, b)) < 5
    # Nor is one mask the other, shifted: neighbouring counters must not share a sequence.
    for shift in (1, 2, 64, 2624):
        assert abs(_sigmas(a[shift:], b[:-shift])) < 5


@pytest.mark.parametrize("shift", [1, 2, 3, 8, 41, 64, 2624, 65536])
def test_elements_of_one_mask_are_independent(shift):
    a = _bits(5, step=3, layer=1) >= 0
    assert abs(_sigmas(a[shift:], a[:-shift])) < 5


def test_runs_have_the_lengths_of_coin_flips():
    """Counts of 10-bit patterns: chi-square with 1023 degrees, limit at 5 sigmas."""
    bits = (_bits(11, step=4, layer=3) >= 0).long()[: N // 10 * 10].view(-1, 10)
    counts = torch.bincount((bits << torch.arange(10)).sum(1), minlength=1024).double()
    expected = len(bits) / 1024
    assert float(((counts - expected) ** 2 / expected).sum()) < 1023 + 5 * math.sqrt(2 * 1023)


def test_each_bit_of_the_key_flips_half_of_the_mask():
    base = hash_bits(torch.tensor(12345, dtype=torch.int32), 1, 1 << 14) >= 0
    for bit in range(31):
        flipped = hash_bits(torch.tensor(12345 ^ (1 << bit), dtype=torch.int32), 1, 1 << 14) >= 0
        assert 0.47 < float((base != flipped).double().mean()) < 0.53


def test_step_keys_do_not_collide():
    keys = {step_key(seed, step) for seed in range(100) for step in range(200)}
    # 20,000 draws of 32 bits: 0.05 collisions expected; 3 or more once in 50,000 choices of hash.
    assert len(keys) > 20_000 - 3


def test_survivors_are_scaled_up_so_that_the_mean_stays():
    x = torch.ones(N)
    y = _dropout(0.25)(x)
    assert y.unique().tolist() == [0.0, pytest.approx(4 / 3)]
    assert float(y.mean()) == pytest.approx(1.0, abs=5 * math.sqrt(0.25 / 0.75 / N))


def test_evaluation_and_rate_zero_leave_the_input_alone():
    x = torch.randn(64, 8)
    assert _dropout(0.5).eval()(x) is x
    assert torch.equal(_dropout(0.0)(x), x)


def test_gradient_goes_through_the_same_mask():
    x = torch.randn(1000, requires_grad=True)
    y = _dropout(0.4)(x)
    y.sum().backward()
    assert torch.equal(x.grad != 0, y != 0)


def test_the_global_generator_is_not_touched():
    before = torch.get_rng_state()
    _dropout(0.3)(torch.randn(10, 10, generator=torch.Generator()))
    assert torch.equal(before, torch.get_rng_state())


def test_vmap_over_keys_and_rates_equals_each_alone():
    rates = torch.tensor([0.0, 0.1, 0.5])
    keys = step_keys([4, 5, 6], 9)
    x = torch.randn(3, 20, 30)
    dropout = _dropout(0.0, layer=7)

    def one(x, rate, key):
        return torch.func.functional_call(dropout, {"rate": rate, "key": key}, (x,))

    together = vmap(one)(x, rates, keys)
    for k in range(3):
        assert torch.equal(together[k], one(x[k], rates[k], keys[k]))
    # Sabotage twin: with the neighbour's key the masks differ, so the equality above can fail.
    assert not torch.equal(together[1], one(x[1], rates[1], keys[2]))


def test_each_layer_gets_its_own_number_and_key_name():
    model = torch.nn.Sequential(
        Dropout(0.1), torch.nn.Sequential(torch.nn.Linear(2, 2), Dropout(0.1))
    )
    number_layers(model)
    assert [model[0].layer, model[1][1].layer] == [1, 2]
    assert key_names(model) == ("0.key", "1.1.key")
    assert key_names(Dropout(0.1)) == ("key",)
    assert dict(model.state_dict()).keys() == {"1.0.weight", "1.0.bias"}


@pytest.mark.parametrize("rate", [-0.1, 1.0, 2.0])
def test_a_rate_outside_0_to_1_is_refused(rate):
    with pytest.raises(ValueError, match="must be in"):
        Dropout(rate)
