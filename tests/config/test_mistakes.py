"""Every mistake is said at once, as a sentence with the rule, the value and the way out."""

import pickle

import pytest

import jamba_ray.models  # noqa: F401
from jamba_ray.config.mistakes import validate
from jamba_ray.config.run import SweepConfig, TrialConfig
from jamba_ray.errors import ConfigError

BASE = {"model": {"name": "attention"}, "data": {"name": "synthetic"}}


def mistakes_of(**settings):
    with pytest.raises(ConfigError) as caught:
        validate(SweepConfig, {**BASE, **settings})
    return list(caught.value.mistakes)


def test_the_base_is_valid():
    assert validate(SweepConfig, BASE).n_trials == 16


def test_all_mistakes_come_at_once():
    found = mistakes_of(
        model={"name": "attention", "drop_rate": 1},
        training={"batch_size": -1, "learnin_rate": 1e-3},
        precision="fp8",
        n_trials=0,
    )
    assert found == [
        "`model.drop_rate` is not a setting. Did you mean `dropout_rate`?",
        "`training.batch_size` must be at least 1, but is -1.",
        "`training.learnin_rate` is not a setting. Did you mean `learning_rate`?",
        "`precision` must be 'auto', 'fp32', 'bf16' or 'fp16', but is 'fp8'.",
        "`n_trials` must be at least 1, but is 0.",
    ]


def test_heads_must_divide_the_width():
    assert mistakes_of(model={"name": "attention", "hidden_dim": 64, "n_heads": 7}) == [
        "`model.n_heads` must divide `model.hidden_dim` (64), but is 7. Choose 4 or 8."
    ]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (
            {"model": {"name": "atention"}},
            "`model.name` must be one of attention, catboost, extra_trees, lightgbm, logistic, "
            "mlp, random_forest, tabm, xgboost, but is 'atention'. "
            "Did you mean `attention`?",
        ),
        (
            {"data": {"name": "synthetic", "split": {"kind": "tim"}}},
            "`data.split.kind` must be 'random', 'time', 'group' or 'auto', but is 'tim'. "
            "Did you mean `time`?",
        ),
        (
            {"data": {"name": "table"}},
            "`data.path` must be given, but is missing. Set `data.path=...`.",
        ),
        (
            {"training": {"threat_weight": "balancd"}},
            "`training.threat_weight` must be a number or 'balanced', but is 'balancd'.",
        ),
        (
            {"training": {"learning_rate": ".inf"}},
            "`training.learning_rate` must be a number, but is '.inf'.",
        ),
        (
            {"training": {"learning_rate": float("nan")}},
            "`training.learning_rate` must be a finite number, but is nan.",
        ),
        ({"lr": 1}, "`lr` is not a setting."),
        (
            {"model": {"name": "lightgbm", "n_heads": 4}},
            "`model.n_heads` is a setting of `model=attention` only. Choose that or drop it.",
        ),
        ({"store": "ftp://bucket/x"}, "`store`"),
        ({"store": "s3://key:secret@bucket/x"}, "`store`"),
    ],
)
def test_sentences(settings, sentence):
    found = mistakes_of(**settings)
    assert len(found) == 1
    assert found[0].startswith(sentence)


@pytest.mark.parametrize("name", ["../x", "", ".hidden", "a/b", "x" * 65, "a\nb", "-rf"])
def test_names_that_become_paths_are_plain(name):
    (sentence,) = mistakes_of(run=name)
    assert repr(name) in sentence
    assert "Choose a plain name" in sentence


def test_a_split_must_leave_rows_to_train_on():
    (sentence,) = mistakes_of(data={"name": "synthetic", "split": {"val": 0.6, "test": 0.5}})
    assert "must be below 1, but is 1.1" in sentence


def test_the_error_survives_pickling():
    error = ConfigError(["a", "b"])
    again = pickle.loads(pickle.dumps(error))
    assert again.mistakes == ("a", "b")
    assert again.exit_code == 64


def test_nothing_of_a_configuration_can_be_changed_later():
    config = validate(TrialConfig, {"model": {"name": "attention"}})
    with pytest.raises(ValueError, match="frozen"):
        config.seed = 3
