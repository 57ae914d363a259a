"""Every sweep that ships: its leaves, its configuration, and what its sampler proposes."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

import jamba_ray.models  # noqa: F401  (registers the families)
from jamba_ray.config.params import with_params
from jamba_ray.config.run import SweepConfig
from jamba_ray.config.space import parse_leaves
from jamba_ray.config.sweep_space import parse_space
from jamba_ray.study.records import TrialOutcome
from jamba_ray.study.settings import study_settings
from jamba_ray.study.sweep_study import SweepStudy
from tests.study.trials import data

FILES = sorted((Path(__file__).parents[2] / "sweeps").glob("*.yaml"))


def test_the_promised_sweeps_are_there():
    assert {"attention_heads", "learning_rate", "architecture", "rivals"} <= {f.stem for f in FILES}


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_a_sweep_file_is_sound(path, tmp_path):
    text = path.read_text()
    assert text.startswith("# @package _global_\n")
    tree = yaml.safe_load(text)
    assert tree["sweep_name"] == path.stem
    leaves, mistakes = parse_leaves(tree["search_space"])
    assert leaves
    assert not mistakes
    config = SweepConfig.model_validate(
        {"model": {"name": "attention"}, "data": {"name": "synthetic"}, **tree}
    )
    space = parse_space(config)
    study = SweepStudy(tmp_path / "study.journal", study_settings(config, space, data(), runners=2))
    n = 0
    while (spec := study.ask(f"s/{n}").spec) is not None:
        with_params(config.trial(), spec.params)
        study.finish(TrialOutcome(spec.number, "complete", value=0.5 + n / 100))
        n += 1
    assert n == config.n_trials
    study.close()
