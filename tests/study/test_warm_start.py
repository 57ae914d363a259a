"""Earlier sweeps' trials reach the sampler, and nothing else."""

from __future__ import annotations

import shutil

import pytest

from jamba_ray.config.run import SweepConfig
from jamba_ray.config.search import SamplerSection
from jamba_ray.errors import ConfigError
from jamba_ray.study import warm_start
from jamba_ray.study.records import TrialOutcome
from tests.study.studies import TREE, open_study, plain, run_to_end, settings, space_of, train


def config(**changes) -> SweepConfig:
    tree = {"data": {"name": "synthetic"}, "model": {"name": "mlp"}, **changes}
    return SweepConfig.model_validate(tree)


def earlier(tmp_path, **changes):
    study = open_study(tmp_path / "runs" / "old", **changes)
    run_to_end(study)
    study.close()
    return study


def stored(tmp_path, **changes):
    given = {"store": str(tmp_path / "runs"), "warm_start": "old", **changes}
    space = space_of(TREE)
    return [one.to_json() for one in warm_start.read(config(**given), space)]


@pytest.mark.parametrize("name", ["tpe", "cmaes", "nsga2"])
def test_earlier_trials_guide_the_sampler_and_count_as_none(tmp_path, name):
    earlier(tmp_path, n_trials=12)
    section = SamplerSection(name=name, n_startup_trials=4, population_size=4)
    warm = stored(tmp_path)
    assert len(warm[0]["trials"]) == 12
    study = open_study(tmp_path / "b", n_trials=6, sampler=section, warm=warm)
    first = study.ask("s/0").spec
    train(study, first)
    assert first.number == 0
    assert study.progress().best.number == 0
    assert len(study.records()) == 1
    assert study.notes() == [
        "The sampler began with 12 of the 12 trials of old, which count as none of this sweep's."
    ]
    study.close()
    assert len(plain(tmp_path / "b" / "study.journal").trials) == 1
    cold = open_study(tmp_path / "c", n_trials=6, sampler=section)
    assert cold.ask("s/0").spec.params != first.params
    cold.close()


def test_a_resumed_sweep_needs_the_earlier_one_no_more(tmp_path):
    earlier(tmp_path, n_trials=12)
    warm = stored(tmp_path)
    straight = open_study(tmp_path / "a", n_trials=5, warm=warm)
    expected = [spec.params for spec in run_to_end(straight)]
    straight.close()
    shutil.rmtree(tmp_path / "runs")
    found, given = [], warm
    for i in range(5):
        study = open_study(tmp_path / "b", n_trials=5, warm=given)
        spec = study.ask(f"s/{i}").spec
        found.append(spec.params)
        train(study, spec)
        study.close()
        given = ()
    assert found == expected


def test_values_are_moved_to_this_sweeps_scale():
    theirs = [[{"a": 1}, 0.9, 0], [{"a": 2}, 0.7, 0], [{"a": 3}, 0.5, 3]]
    study = plain_study([({"a": 1}, 0.6)])
    assert warm_start.shift(theirs, study) == pytest.approx(-0.3)
    assert warm_start.shift(theirs, plain_study([({"a": 9}, 0.5)])) == pytest.approx(-0.3)
    assert warm_start.shift(theirs, []) == 0.0


def plain_study(results):
    import optuna
    from optuna.distributions import IntDistribution

    return [
        optuna.trial.create_trial(
            value=value, params=params, distributions={"a": IntDistribution(0, 9)}
        )
        for params, value in results
    ]


def test_what_cannot_be_used_is_a_sentence(tmp_path):
    study = open_study(tmp_path / "runs" / "old", objective="log_loss", direction="minimize")
    spec = study.ask("s/0").spec
    study.finish(TrialOutcome(spec.number, "complete", value=0.3))
    study.close()
    with pytest.raises(ConfigError, match=r"was one by log_loss \(minimize\)"):
        stored(tmp_path)
    with pytest.raises(ConfigError, match=r"'gone' holds no study"):
        stored(tmp_path, warm_start=["gone"])
    with pytest.raises(ConfigError, match="needs a sampler that learns"):
        stored(tmp_path, objective="log_loss", sampler="random")
    elsewhere = space_of({"training": {"rate": {"type": "float", "low": 5.0, "high": 6.0}}})
    given = config(store=str(tmp_path / "runs"), warm_start="old", objective="log_loss")
    with pytest.raises(ConfigError, match=r"none of the 1 of 'old' is in it"):
        warm_start.read(given, elsewhere)
    assert settings().warm == ()
