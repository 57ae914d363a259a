from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from jamba_ray.models.tokens import (
    NARROW,
    CategoricalTokens,
    FeatureTokens,
    NumericTokens,
    PiecewiseLinear,
)
from tests.models.rows import rows_of, schema_of


def _by_the_book(x: float, edges: tuple[float, ...]) -> list[float]:
    """Gorishniy et al. 2022, equation 1, with both ends closed."""
    return [float(np.clip((x - a) / (b - a), 0, 1)) for a, b in itertools.pairwise(edges)]


def test_piecewise_linear_encoding_is_that_of_the_paper():
    edges = ((-1.0, 0.0, 0.5, 3.0), (0.0, 1.0))
    x = torch.tensor([[-5.0, 0.3], [-0.25, 2.0], [0.25, -1.0], [1.0, 0.0], [9.0, 1.0]])
    encoded = PiecewiseLinear(edges)(x)
    assert encoded.shape == (2, 5, 3)
    for b in range(5):
        for f in range(2):
            expected = _by_the_book(float(x[b, f]), edges[f])
            expected += [0.0] * (3 - len(expected))
            np.testing.assert_allclose(encoded[f, b].numpy(), expected, atol=1e-6)


def test_encoding_is_monotone_and_bounded_far_outside_the_training_range():
    encoded = PiecewiseLinear(((-1.0, 0.0, 1.0),))(torch.linspace(-1e6, 1e6, 501)[:, None])[0]
    assert float(encoded.min()) == 0.0
    assert float(encoded.max()) == 1.0
    assert bool((encoded.diff(dim=0) >= 0).all())


def test_packed_table_gives_each_column_its_own_rows():
    tokens = CategoricalTokens((2, 3), width=4)
    out = tokens(torch.tensor([[0, 0], [1, 2]]))
    assert torch.equal(out[0], tokens.table[[0, 2]])
    assert torch.equal(out[1], tokens.table[[1, 4]])


def test_unknown_code_0_is_learned_like_any_other():
    tokens = CategoricalTokens((3,), width=4)
    tokens(torch.zeros(5, 1, dtype=torch.int64)).sum().backward()
    assert bool((tokens.table.grad[0] == 5).all())


@pytest.mark.parametrize("width", [1, NARROW - 1, NARROW])
@pytest.mark.parametrize("embedding", ["ple", "periodic"])
def test_narrow_and_wide_tokens_are_the_same_formula(embedding, width):
    """Tokens and all gradients, in whichever layout they are computed."""
    schema = schema_of()
    tokens = NumericTokens(schema, width, embedding).double()
    with torch.no_grad():
        for parameter in tokens.parameters():
            parameter.normal_()
    x, *_ = rows_of(schema, n=7)
    x = x.double()
    pull = torch.randn(7, len(schema.numeric), width, dtype=torch.float64)
    encoded = torch.einsum("fbt,ftd->bfd", tokens.encoding(x), tokens.weight)
    expected = x[:, :, None] * tokens.slope + encoded
    wanted = torch.autograd.grad((expected * pull).sum(), list(tokens.parameters()))
    for rows in (x, x.t().contiguous().t()):
        out = tokens(rows)
        torch.testing.assert_close(out, expected)
        found = torch.autograd.grad((out * pull).sum(), list(tokens.parameters()))
        torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("embedding", ["ple", "periodic", "linear"])
def test_a_token_depends_on_its_own_feature_alone(embedding):
    schema = schema_of()
    tokens = FeatureTokens(schema, 8, embedding, masking=0.0).eval()
    with torch.no_grad():
        for parameter in tokens.parameters():
            parameter.normal_()
    x_num, x_cat, _ = rows_of(schema, n=4)
    before = tokens(x_num, x_cat)
    x_num = x_num.clone()
    x_num[:, 2] += 0.4
    changed = (tokens(x_num, x_cat) != before).any(dim=-1).any(dim=0)
    assert changed.tolist() == [i == 2 for i in range(schema.input_dim)]


def test_masking_hides_whole_values_in_training_only():
    schema = schema_of()
    tokens = FeatureTokens(schema, 8, "ple", masking=0.5)
    x_num, x_cat, _ = rows_of(schema, n=200)
    seen = tokens.eval()(x_num, x_cat)
    out = tokens.train()(x_num, x_cat)
    hidden = (out == tokens.column).all(dim=-1)
    assert 0.4 < float(hidden.double().mean()) < 0.6
    assert torch.equal(out[~hidden], seen[~hidden])
