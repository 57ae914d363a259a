"""Mistakes in a model's section: a rule, the value, a way out."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from jamba_ray.config.model import AttentionSection, LightgbmSection, MlpSection
from jamba_ray.models.lightgbm import lightgbm_params


def _sentence(section, **values) -> str:
    with pytest.raises(ValidationError) as caught:
        section(**values)
    (error,) = caught.value.errors()
    return str(error["ctx"]["error"]) if "error" in error.get("ctx", {}) else error["msg"]


def test_heads_must_divide_the_width():
    assert _sentence(AttentionSection, hidden_dim=64, n_heads=7) == (
        "`model.n_heads` must divide `model.hidden_dim` (64), but is 7. Choose 4 or 8"
    )


@pytest.mark.parametrize(("hidden_dim", "n_heads"), [(6, 4), (7, 2), (13, 256), (100, 64)])
def test_the_heads_it_offers_do_divide(hidden_dim, n_heads):
    offered = _sentence(AttentionSection, hidden_dim=hidden_dim, n_heads=n_heads)
    choices = offered.rpartition("Choose ")[2].split(" or ")
    assert choices
    assert all(AttentionSection(hidden_dim=hidden_dim, n_heads=int(c)) for c in choices)


@pytest.mark.parametrize("section", [AttentionSection, MlpSection])
@pytest.mark.parametrize(
    "values",
    [
        {"dropout_rate": 1.0},
        {"dropout_rate": float("nan")},
        {"hidden_dim": 0},
        {"feature_layers": 0},
        {"output_dim": 2},
        {"embedding": "ples"},
        {"hiden_dim": 64},
    ],
)
def test_values_out_of_range_are_refused(section, values):
    with pytest.raises(ValidationError):
        section(**values)


def test_leaves_must_fit_the_depth():
    assert _sentence(LightgbmSection, max_depth=4, num_leaves=31) == (
        "`model.num_leaves` must be at most 2 ** `model.max_depth` (16), but is 31. "
        "Lower it, or set `model.max_depth=-1`"
    )
    assert "but is 0" in _sentence(LightgbmSection, max_depth=0, num_leaves=2)
    assert LightgbmSection(max_depth=5).num_leaves == 31


def test_defaults_are_those_of_the_library():
    lightgbm = pytest.importorskip("lightgbm")
    theirs = lightgbm.LGBMClassifier().get_params()
    ours = LightgbmSection().model_dump()
    assert {name: theirs[name] for name in ours if name in theirs} == {
        name: ours[name] for name in ours if name in theirs
    }
    assert set(ours) - set(theirs) == {"name", "max_bin"}


def test_params_grow_the_trees_of_the_libraries_own_defaults():
    import lightgbm
    import numpy as np

    rng = np.random.default_rng(0)
    x = rng.normal(size=(500, 4))
    y = (x[:, 0] * x[:, 1] > 0).astype(int)
    params = lightgbm_params(LightgbmSection(), seed=0, n_threads=1)
    ours = lightgbm.train(params, lightgbm.Dataset(x, y), num_boost_round=20)
    theirs = lightgbm.LGBMClassifier(n_estimators=20, n_jobs=1, verbosity=-1, force_row_wise=True)
    theirs.fit(x, y)
    np.testing.assert_allclose(ours.predict(x), theirs.predict_proba(x)[:, 1], rtol=1e-9)
    faster = lightgbm_params(LightgbmSection(learning_rate=0.3), seed=0, n_threads=1)
    other = lightgbm.train(faster, lightgbm.Dataset(x, y), num_boost_round=20)
    assert not np.allclose(ours.predict(x), other.predict(x))


def test_drawing_rows_is_switched_on_by_a_share_below_one():
    params = lightgbm_params(LightgbmSection(subsample=0.5), seed=1, n_threads=2)
    assert (params["bagging_fraction"], params["bagging_freq"]) == (0.5, 1)
    assert (params["seed"], params["num_threads"]) == (1, 2)
