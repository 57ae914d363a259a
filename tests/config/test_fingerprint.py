"""A fingerprint changes with what decides the result, and with nothing else."""

import pytest

import jamba_ray.models  # noqa: F401
from jamba_ray.config.fingerprint import fingerprint, fingerprinted
from jamba_ray.config.mistakes import validate
from jamba_ray.config.run import SweepConfig

BASE = {"model": {"name": "attention"}, "data": {"name": "synthetic"}}


def of(**settings):
    return fingerprint(validate(SweepConfig, {**BASE, **settings}))


@pytest.mark.parametrize(
    "settings",
    [
        {"seed": 1},
        {"training": {"epochs": 3}},
        {"model": {"name": "mlp"}},
        {"data": {"name": "synthetic", "split": {"kind": "time"}}},
        {"data": {"name": "synthetic", "preprocessing": {"scaling": "robust"}}},
        {"objective": "roc_auc"},
        {"default_first": False},
        {"enqueue": [{"model.n_heads": 1}]},
        {"search_space": {"model": {"n_heads": {"type": "categorical", "choices": [1]}}}},
    ],
)
def test_another_experiment_has_another_fingerprint(settings):
    assert of(**settings) != of()


@pytest.mark.parametrize(
    "settings",
    [{"run": "x"}, {"store": "/elsewhere"}, {"n_trials": 99}, {"verbose": True}, {"resume": True}],
)
def test_the_same_experiment_elsewhere_has_the_same(settings):
    assert of(**settings) == of()


def test_a_setting_that_came_later_leaves_the_fingerprint_of_what_was_before():
    """Earlier versions had no trial of the defaults: their sweeps go on as with ``false``."""
    config = validate(SweepConfig, {**BASE, "default_first": False})
    assert not {"default_first", "enqueue"} & fingerprinted(config).keys()
