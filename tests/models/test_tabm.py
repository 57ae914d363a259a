from __future__ import annotations

import pytest
import torch

from jamba_ray import models
from jamba_ray.config.model import TabmSection
from jamba_ray.models.tabm import log_odds_of_mean
from tests.models.rows import rows_of, schema_of

HEADS = 3


@pytest.fixture
def model():
    section = TabmSection(n_networks=HEADS, hidden_dim=8, token_dim=2, feature_layers=3)
    made = models.build(section, schema_of(), seed=0)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_(generator=torch.Generator().manual_seed(parameter.numel()))
    return made.eval()


def _head(model, h: int, x_num, x_cat):
    """The network of one head, by the book: (x * r) @ weight * s + bias."""
    x = model.tokens(x_num, x_cat).flatten(1)
    for layer in (model.first, *model.layers):
        r, s, b = (p.view(HEADS, -1)[h] for p in (layer.scale_in, layer.scale_out, layer.bias))
        x = torch.nn.functional.silu((x * r) @ layer.weight.T * s + b)
    return x @ model.head[h] + model.head_bias[h]


def test_each_head_is_a_batch_ensembles_member_and_the_score_their_mean_probability(model):
    x_num, x_cat, _ = rows_of(schema_of())
    expected = torch.stack([_head(model, h, x_num, x_cat) for h in range(HEADS)], dim=-1)
    p = torch.sigmoid(model(x_num, x_cat))
    torch.testing.assert_close(p, torch.sigmoid(expected).mean(dim=-1), rtol=1e-4, atol=1e-6)


def test_a_mean_of_nearly_certain_heads_stays_apart_and_finite():
    z = torch.tensor([[60.0, 60.0], [61.0, 61.0], [-90.0, -90.0], [100.0, -100.0]])
    expected = torch.tensor([60.0, 61.0, -90.0, 0.0])
    torch.testing.assert_close(log_odds_of_mean(z), expected)
    assert bool(log_odds_of_mean(z * 1000).isfinite().all())


def test_heads_begin_apart_by_one_number_for_each_feature():
    section = TabmSection(token_dim=4)
    model = models.build(section, schema_of(), seed=0)
    scale = model.first.scale_in.view(section.n_networks, -1, section.token_dim)
    assert bool((scale == scale[..., :1]).all())
    assert len(scale[..., 0].unique()) == section.n_networks * schema_of().input_dim
    assert all(bool((layer.scale_in == 1).all()) for layer in model.layers)


def test_weight_decay_reaches_no_scale(model):
    scales = [p for name, p in model.named_parameters() if "scale" in name or "bias" in name]
    assert scales
    assert all(p.ndim == 1 for p in scales)
