from __future__ import annotations

import sys
from pathlib import Path

import pytest
import yaml

from jamba_ray import models
from jamba_ray.config import family as families
from jamba_ray.errors import ConfigError
from jamba_ray.models import registry
from tests.models.rows import rows_of, schema_of

CONF = Path(__file__).parents[2] / "conf" / "model"

NEW_FAMILY = """
from typing import Literal

from torch import nn

from jamba_ray.config.family import ModelSection
from jamba_ray.models.registry import register


class LinearSection(ModelSection):
    name: Literal["linear"] = "linear"


class Linear(nn.Module):
    def __init__(self, section, schema):
        super().__init__()
        self.linear = nn.Linear(len(schema.numeric), 1)

    def forward(self, x_num, x_cat):
        return self.linear(x_num).squeeze(-1)


register("linear", LinearSection, Linear)
"""


def test_every_family_has_a_file_in_conf_and_every_file_a_family():
    chosen = {path.stem: yaml.safe_load(path.read_text())["name"] for path in CONF.glob("*.yaml")}
    assert all(stem == name for stem, name in chosen.items())
    assert set(models.discover()) == set(chosen)


def test_what_conf_chooses_validates():
    for path in CONF.glob("*.yaml"):
        choices = yaml.safe_load(path.read_text())
        families.FAMILIES[choices["name"]].model_validate(choices)


def test_one_new_file_adds_a_family(tmp_path, monkeypatch):
    for known in (families.FAMILIES, families.TRAINERS, registry.BUILDERS):
        for key, value in known.items():
            monkeypatch.setitem(known, key, value)  # so that what is added is undone
    (tmp_path / "linear.py").write_text(NEW_FAMILY)
    monkeypatch.setattr(models, "__path__", [*models.__path__, str(tmp_path)])
    try:
        assert "linear" in models.discover()
        schema = schema_of()
        section = families.FAMILIES["linear"]()
        x_num, x_cat, _ = rows_of(schema)
        assert models.build(section, schema)(x_num, x_cat).shape == (len(x_num),)
    finally:
        sys.modules.pop("jamba_ray.models.linear", None)
        for known in (families.FAMILIES, families.TRAINERS, registry.BUILDERS):
            known.pop("linear", None)


def test_trees_have_no_module_and_say_so():
    with pytest.raises(ConfigError, match=r"attention, mlp, tabm.*'lightgbm'.*training\.fit"):
        models.build(families.FAMILIES["lightgbm"](), schema_of())


def test_a_builder_goes_with_the_gradient_trainer_only():
    section = families.FAMILIES["mlp"]
    with pytest.raises(ValueError, match="only for them"):
        registry.register("mlp", section, None)
    with pytest.raises(ValueError, match="only for them"):
        registry.register("mlp", section, registry.BUILDERS["mlp"], trainer="boosting")
