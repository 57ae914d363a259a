"""A program of torch.export gives its network's scores from raw numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from jamba_ray.data.fitted_columns import NumericColumn
from jamba_ray.data.scaling import fit_scale
from jamba_ray.errors import ConfigError, ParityError
from jamba_ray.exports import pt2_export
from jamba_ray.exports.parity_rows import _numbers
from jamba_ray.exports.pt2_export import Scaling, exported, verified


def columns() -> tuple[NumericColumn, ...]:
    rng = np.random.default_rng(0)
    found = []
    for i, kind in enumerate(("quantile", "standard", "robust", "quantile")):
        x = rng.lognormal(i, 2, 500) if i != 3 else rng.integers(0, 4, 500).astype(float)
        scale = fit_scale(x, kind)
        assert scale is not None
        found.append(NumericColumn(f"c{i}", x.min(), x.max(), float(np.median(x)), scale, ()))
    return tuple(found)


def test_scaling_is_equal_to_the_bit_on_every_knot_and_its_neighbours():
    own = columns()
    hard = [_numbers(c, None, np.random.default_rng(0)) for c in own]
    n = max(map(len, hard))
    x = np.stack([np.resize(one, n) for one in hard], axis=1)
    expected = np.stack([c(x[:, j]) for j, c in enumerate(own)], axis=1)
    found = Scaling(own)(torch.tensor(x)).numpy()
    np.testing.assert_array_equal(found, expected)
    # The sabotage twin: the knots of another column are another scale.
    wrong = (own[0], own[1], own[2], own[0])
    assert (Scaling(wrong)(torch.tensor(x)).numpy() != expected).any()


def test_trees_and_files_of_others_are_refused(subjects):
    with pytest.raises(ConfigError, match="holds one network, but the model is logistic"):
        exported(subjects("logistic"))
    with pytest.raises(ConfigError, match=r"a \.pt2 file is a program"):
        verified(subjects("logistic"), b"PK")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["attention", "mlp"])
def test_a_program_gives_the_networks_scores(subjects, name):
    raw, words = exported(subjects(name))
    assert "scores differ by at most" in words
    other = subjects("mlp" if name == "attention" else "attention")
    with pytest.raises(ParityError, match="must give the model's answers"):
        pt2_export._proven(other, raw)
