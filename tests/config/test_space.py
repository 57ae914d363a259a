"""A search space is checked leaf by leaf against the settings that it varies."""

import pytest

import jamba_ray.models  # noqa: F401
from jamba_ray.config.mistakes import validate
from jamba_ray.config.params import flatten, with_params
from jamba_ray.config.run import SweepConfig, TrialConfig
from jamba_ray.config.space import in_order, parse_leaves
from jamba_ray.config.sweep_space import parse_space, without_families
from jamba_ray.errors import ConfigError


def sweep(space, **settings):
    tree = {"model": {"name": "attention"}, "data": {"name": "synthetic"}, **settings}
    return validate(SweepConfig, {**tree, "search_space": space})


def mistakes_of(space, **settings):
    with pytest.raises(ConfigError) as caught:
        parse_space(sweep(space, **settings))
    return list(caught.value.mistakes)


HEADS = {"type": "categorical", "choices": [1, 2, 4]}
RATE = {"type": "float", "low": 1e-4, "high": 1e-2, "log": True}


def test_stackable_parameters_do_not_make_the_structure():
    space = parse_space(sweep({"model": {"n_heads": HEADS}, "training": {"learning_rate": RATE}}))
    assert {p.path: p.stackable for p in space.parameters} == {
        "model.n_heads": False,
        "training.learning_rate": True,
    }
    params = {"model.n_heads": 2, "training.learning_rate": 1e-3}
    assert space.structure(params) == {"model.n_heads": 2}


def test_all_mistakes_come_at_once():
    found = mistakes_of(
        {
            "model": {"n_head": HEADS},
            "training": {"lr": RATE, "weight_decay": {"type": "float", "low": 2, "high": 1}},
            "data": {"n_samples": {"type": "int", "low": 1, "high": 2}},
            "precision": "bf16",
        }
    )
    assert len(found) == 5
    assert any("Did you mean `model.n_heads`?" in s for s in found)
    assert any("Did you mean `training.learning_rate`?" in s for s in found)
    assert any("`low` must not exceed `high` (1), but is 2" in s for s in found)
    assert any("must not vary the data" in s for s in found)
    assert any("To fix a value instead, set `precision=bf16`" in s for s in found)


@pytest.mark.parametrize(
    ("leaf", "words"),
    [
        ({"type": "flot", "low": 0, "high": 1}, "must be float, int or categorical, but is 'flot'"),
        ({"low": 0, "high": 1}, "must be float, int or categorical, but is None"),
        ({"type": "float", "low": 0}, "`search_space.model.dropout_rate.high` is missing"),
        ({"type": "float", "low": 0, "high": 1, "hi": 2}, "is no key of a leaf"),
        (
            {"type": "float", "low": 0, "high": 0.5, "log": True},
            "must be positive with `log: true`",
        ),
        ({"type": "categorical", "choices": []}, "at least 1 item"),
        ({"type": "categorical", "choices": [0.1, 0.1]}, "must be distinct"),
        ({"type": "float", "low": 0.0, "high": 3.0}, "must be at most 0.9"),
    ],
)
def test_wrong_leaves(leaf, words):
    found = mistakes_of({"model": {"dropout_rate": leaf}})
    assert any(words in sentence for sentence in found), found


def test_combinations_that_make_no_model_are_refused_before_the_sweep():
    (sentence,) = mistakes_of({"model": {"n_heads": {"type": "categorical", "choices": [2, 7]}}})
    assert "`model.n_heads` must divide `model.hidden_dim`" in sentence


def test_a_setting_of_one_family_needs_its_condition():
    families = {"type": "categorical", "choices": ["attention", "mlp"]}
    (sentence,) = mistakes_of({"model": {"name": families, "n_heads": HEADS}})
    assert "Add `when: {model.name: [attention]}`" in sentence
    space = parse_space(
        sweep(
            {"model": {"n_heads": {**HEADS, "when": {"model.name": "attention"}}, "name": families}}
        )
    )
    assert space.paths == ("model.name", "model.n_heads"), "a condition comes before its dependants"
    assert space.n_combinations() == 4
    assert {"model.name": "mlp"} in list(space.grid())


def test_conditions_on_unknown_names_and_circles():
    (sentence,) = mistakes_of({"model": {"n_heads": {**HEADS, "when": {"model.nam": "x"}}}})
    assert "Did you mean `model.name`?" in sentence
    leaves, _ = parse_leaves(
        {"a": {**HEADS, "when": {"b": 1}}, "b": {**HEADS, "when": {"a": 1}}, "c": HEADS}
    )
    order, mistakes = in_order(leaves)
    assert order == ["c"]
    assert "circle" in mistakes[0]


def test_a_condition_on_a_base_value():
    leaf = {**HEADS, "when": {"training.batch_size": [256, 512]}}
    space = parse_space(sweep({"model": {"n_heads": leaf}}, training={"batch_size": 256}))
    assert space.base == {"training.batch_size": 256}
    assert space.n_combinations() == 3
    other = parse_space(sweep({"model": {"n_heads": leaf}}, training={"batch_size": 64}))
    assert other.n_combinations() == 1


def test_params_of_another_family_start_from_its_defaults():
    base = validate(TrialConfig, {"model": {"name": "attention", "hidden_dim": 32}})
    own = with_params(base, {"training.learning_rate": 0.5, "model.n_heads": 2})
    assert (own.model.hidden_dim, own.model.n_heads, own.training.learning_rate) == (32, 2, 0.5)
    other = with_params(base, {"model.name": "mlp"})
    assert other.model == type(other.model)()
    assert other.training == base.training


def test_flatten():
    assert flatten({"a": {"b": 1, "c": {"d": 2}}, "e": 3}) == {"a.b": 1, "a.c.d": 2, "e": 3}


def test_families_that_are_missing_leave_the_space_with_what_is_theirs_alone():
    rate = {"type": "float", "low": 0.1, "high": 0.2}
    space = {
        "model": {
            "name": {"type": "categorical", "choices": ["mlp", "catboost", "lightgbm"]},
            "max_depth": {"type": "int", "low": 2, "high": 4, "when": {"model.name": "catboost"}},
            "learning_rate": {**rate, "when": {"model.name": ["catboost", "lightgbm"]}},
        },
        "training": {"learning_rate": {**rate, "when": {"model.name": "mlp"}}},
    }
    config = sweep(space, model={"name": "mlp"})
    left = without_families(config, ["catboost"])
    paths = {p.path: p.leaf for p in parse_space(left).parameters}
    assert list(paths["model.name"].choices) == ["mlp", "lightgbm"]
    assert paths["model.learning_rate"].when == {"model.name": ["lightgbm"]}
    assert "model.max_depth" not in paths
    assert "training.learning_rate" in paths
    assert config.search_space == space  # the given one stays
    assert without_families(config, []) is config
    assert without_families(config, ["xgboost"]) is config
    assert without_families(config, ["mlp", "catboost", "lightgbm"]) is config
