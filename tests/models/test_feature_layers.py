from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from jamba_ray.models.feature_layers import (
    NARROWEST,
    FeatureLayers,
    adaptive_rate,
    progressive_widths,
)


@given(first=st.integers(1, 4096), n_layers=st.integers(1, 16))
def test_widths_never_grow_and_never_vanish(first, n_layers):
    widths = progressive_widths(first, n_layers)
    assert len(widths) == n_layers
    assert widths[0] == first
    assert all(a >= b for a, b in itertools.pairwise(widths))
    assert widths[-1] >= min(first, NARROWEST)


def test_widths_halve():
    assert progressive_widths(128, 6) == (128, 64, 32, 16, 8, 8)


@given(rate=st.floats(0.0, 0.9), width=st.integers(1, 512), more=st.integers(0, 512))
def test_adaptive_rate_keeps_the_relative_noise_of_a_sum(rate, width, more):
    widest = width + more
    adapted = adaptive_rate(rate, width, widest)
    assert 0.0 <= adapted <= rate + 1e-12
    noise = rate / ((1 - rate) * widest)
    assert adapted / ((1 - adapted) * width) == pytest.approx(noise, rel=1e-9)


def test_the_widest_layer_has_the_rate_itself():
    rates = [float(layer.dropout.rate) for layer in FeatureLayers(10, (32, 16, 8), "batch", 0.3)]
    assert rates[0] == pytest.approx(0.3)
    assert rates[0] > rates[1] > rates[2] > 0


@pytest.mark.parametrize("norm", ["batch", "layer"])
def test_layers_of_one_width_are_residual(norm):
    layers = FeatureLayers(16, (16, 16, 8), norm, 0.0)
    assert [layer.is_residual for layer in layers] == [True, True, False]
    with torch.no_grad():
        for layer in (layers[0], layers[1]):
            layer.linear.weight.zero_()
            layer.linear.bias.zero_()
    x = torch.randn(12, 16)
    assert torch.equal(layers[1](layers[0](x)), x)
