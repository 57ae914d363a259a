"""Each name that Optuna keeps to itself and we use: an upgrade that takes one away fails here."""

import numpy as np
import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.samplers import NSGAIISampler

from jamba_ray.study import optuna_private


def test_a_point_of_the_unit_cube_is_the_parameters():
    space = {"a": FloatDistribution(1e-4, 1e-2, log=True)}
    transform = optuna_private.transform_of(space)
    assert transform.bounds.tolist() == [[0.0, 1.0]]
    middle = transform.transform({"a": 1e-3})
    assert np.allclose(middle, 0.5)
    assert np.isclose(transform.untransform(middle)["a"], 1e-3)


def test_notes_are_kept_with_a_study_and_a_trial():
    study = optuna.create_study()
    assert optuna_private.noted_on_study(study, "k") is None
    optuna_private.note_on_study(study, "k", [1, 2])
    assert optuna_private.noted_on_study(study, "k") == [1, 2]
    trial = optuna_private.storage_of(study).get_trial(study.ask().number)
    optuna_private.note_on_trial(study, trial, "g", 3)
    assert study.get_trials()[0].system_attrs["g"] == 3


def test_the_first_front_survives():
    sampler = NSGAIISampler(population_size=2, seed=0)
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
    x = {"x": CategoricalDistribution([0])}
    for values in ([1.0, 1.0], [2.0, 2.0], [0.0, 3.0]):
        trial = optuna.trial.create_trial(values=values, params={"x": 0}, distributions=x)
        study.add_trial(trial)
    alive = optuna_private.survivors(sampler, study, study.get_trials())
    assert sorted(t.number for t in alive) == [0, 1]
