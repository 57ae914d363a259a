"""Names that plug-ins have registered are accepted beside ours, and suggested for typos."""

from __future__ import annotations

import pytest

from jamba_ray.config import plugins
from jamba_ray.config.direction import direction_of
from jamba_ray.config.mistakes import validate
from jamba_ray.config.run import TrialConfig
from jamba_ray.errors import ConfigError


def cost(labels, scores):
    return 0.0


@pytest.fixture
def _cost(monkeypatch):
    monkeypatch.setitem(plugins.METRICS, "cost", plugins.MetricPlugin(cost, "minimize"))


def trial(objective: str) -> TrialConfig:
    return validate(TrialConfig, {"model": {"name": "mlp"}, "objective": objective})


@pytest.mark.usefixtures("_cost")
def test_a_metric_of_a_plug_in_is_an_objective_with_its_direction():
    found = trial("cost")
    assert found.objective == "cost"
    assert found.model_dump(mode="json")["objective"] == "cost"
    assert direction_of("cost") == "minimize"
    assert trial("roc_auc").objective == "roc_auc"
    with pytest.raises(ConfigError, match=r"or 'cost', but is 'csot'. Did you mean `cost`\?"):
        trial("csot")


def test_without_it_the_name_is_a_mistake():
    with pytest.raises(ConfigError, match=r"`objective` must be .*, but is 'cost'"):
        trial("cost")


@pytest.mark.usefixtures("_cost")
def test_a_name_belongs_to_one_plug_in():
    plugins.add(plugins.METRICS, "metric", "cost", plugins.MetricPlugin(cost, "minimize"))
    with pytest.raises(ValueError, match=r"'cost' is already registered by .*test_plugins.cost"):
        plugins.add(plugins.METRICS, "metric", "cost", plugins.MetricPlugin(max, "minimize"))
