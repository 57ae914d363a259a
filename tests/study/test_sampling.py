"""What is proposed: every kind of leaf, conditions, samplers, and the grid."""

from __future__ import annotations

import importlib.util

import pytest

from jamba_ray.config.search import PrunerSection, SamplerSection
from jamba_ray.errors import ConfigError
from jamba_ray.study import sampling
from jamba_ray.study.proposal import distribution
from jamba_ray.study.records import TrialOutcome
from tests.study.studies import TREE, open_study, space_of, train

SAMPLERS = ["tpe", "random", "qmc", "gp", "cmaes", "nsga2"]
RIVALS = {
    "model": {
        "name": {"type": "categorical", "choices": ["attention", "mlp", "lightgbm"]},
        "n_heads": {
            "type": "categorical",
            "choices": [1, 2, 4],
            "when": {"model.name": "attention"},
        },
        "hidden_dim": {
            "type": "int",
            "low": 16,
            "high": 64,
            "step": 16,
            "when": {"model.name": ["attention", "mlp"]},
        },
        "norm": {"type": "categorical", "choices": [None, True, "batch", 1.5]},
    },
    "training": {
        "learning_rate": {"type": "float", "low": 1e-4, "high": 1e-2, "log": True},
        "dropout": {"type": "float", "low": 0.0, "high": 0.45, "step": 0.1},
    },
}


def asked(tmp_path, n: int, **changes):
    study = open_study(tmp_path, n_trials=n, **changes)
    found = []
    while (spec := study.ask(f"s/{len(found)}").spec) is not None:
        found.append(spec.params)
        study.finish(
            TrialOutcome(spec.number, "complete", value=0.1 + 0.01 * (len(found) * 7 % 11))
        )
    study.close()
    return found


@pytest.mark.parametrize("name", SAMPLERS)
def test_conditional_parameters_exist_exactly_where_their_condition_holds(tmp_path, name):
    section = SamplerSection(name=name, n_startup_trials=5)
    found = asked(tmp_path, 24, tree=RIVALS, sampler=section, runners=2)
    assert {p["model.name"] for p in found} == {"attention", "mlp", "lightgbm"}
    for params in found:
        assert ("model.n_heads" in params) == (params["model.name"] == "attention")
        assert ("model.hidden_dim" in params) == (params["model.name"] != "lightgbm")
        assert params.get("model.hidden_dim", 16) in (16, 32, 48, 64)
        assert params["model.norm"] in (None, True, "batch", 1.5)
        assert 1e-4 <= params["training.learning_rate"] <= 1e-2
        assert any(abs(params["training.dropout"] - 0.1 * i) < 1e-9 for i in range(5))


def proposed(tmp_path, name: str, *, reopens: bool) -> list:
    """The parameters of 14 trials of which two train at a time and some are pruned, in a study that
    is closed and opened again before each one where ``reopens``."""
    changes = {
        "n_trials": 14,
        "sampler": SamplerSection(name=name, n_startup_trials=4, population_size=3),
        "tree": GRID if name == "grid" else TREE,
    }
    study, found, live = open_study(tmp_path, **changes), [], []
    while (spec := study.ask(f"s/{len(found)}").spec) is not None:
        found.append(spec.params)
        live.append(spec)
        if len(live) > 1:
            train(study, live.pop(0))
        if reopens:
            study.close()
            study = open_study(tmp_path, **changes)
    study.close()
    return found


GRID = {**TREE, "training": {"rate": {"type": "float", "low": 0.01, "high": 0.1, "step": 0.01}}}


@pytest.mark.parametrize("name", [*(n for n in SAMPLERS if n != "gp"), "grid"])
def test_a_resumed_sweep_proposes_what_the_uninterrupted_one_would(tmp_path, name):
    straight = proposed(tmp_path / "a", name, reopens=False)
    assert proposed(tmp_path / "b", name, reopens=True) == straight


@pytest.mark.parametrize("name", ["cmaes", "nsga2"])
def test_a_generation_that_is_not_stored_is_found_out(tmp_path, name, monkeypatch):
    """A saboteur: the generation is noted in memory alone."""
    straight = proposed(tmp_path / "a", name, reopens=False)
    monkeypatch.setattr(sampling, "NOTE_GENERATIONS", ())
    assert proposed(tmp_path / "b", name, reopens=True) != straight


def test_cmaes_learns(tmp_path):
    """In its eighth generation it draws thrice as near to the optimum as blind draws do (0.6)."""
    leaf = {"type": "float", "low": 0.0, "high": 1.0}
    section = SamplerSection(name="cmaes", population_size=8)
    tree = {"training": {"rate": leaf, "dropout": leaf}}
    study = open_study(tmp_path, tree=tree, n_trials=64, sampler=section)
    found = []
    while (spec := study.ask(f"s/{len(found)}").spec) is not None:
        x, y = (float(value) for value in spec.params.values())
        found.append(abs(x - 0.2) + abs(y - 0.7))
        study.finish(TrialOutcome(spec.number, "complete", value=-found[-1]))
    study.close()
    assert sum(found[-16:]) / 16 < 0.2


def test_a_sampler_without_its_package_is_a_sentence(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'jamba-ray\[cmaes\]'"):
        sampling.check_installed(SamplerSection(name="cmaes"))
    sampling.check_installed(SamplerSection(name="nsga2"))


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_seed_decides(tmp_path, name):
    section = SamplerSection(name=name, n_startup_trials=4)
    runs = [
        asked(tmp_path / str(i), 10, sampler=section, seed=seed) for i, seed in enumerate([3, 3, 4])
    ]
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


def test_tpe_learns(tmp_path):
    """After 12 random draws TPE draws near the optimum; of 30 blind draws on [0, 1] one in five
    would lie within 0.1 of it."""
    tree = {"training": {"rate": {"type": "float", "low": 0.0, "high": 1.0}}}
    study = open_study(
        tmp_path, tree=tree, n_trials=42, sampler=SamplerSection(n_startup_trials=12)
    )
    found = []
    while (spec := study.ask(f"s/{len(found)}").spec) is not None:
        found.append(float(spec.params["training.rate"]))
        study.finish(TrialOutcome(spec.number, "complete", value=-abs(found[-1] - 0.3)))
    study.close()
    assert sum(abs(x - 0.3) < 0.1 for x in found[12:]) >= 15


def test_the_grid_is_covered_once_with_its_conditions(tmp_path):
    tree = {
        "model": {
            "name": RIVALS["model"]["name"],
            "n_heads": RIVALS["model"]["n_heads"],
            "norm": RIVALS["model"]["norm"],
        }
    }
    section = SamplerSection(name="grid")
    found = asked(tmp_path / "a", 100, tree=tree, sampler=section)
    assert len(found) == (3 + 1 + 1) * 4 == len({sampling.key_of(p) for p in found})
    shuffled = asked(tmp_path / "b", 100, tree=tree, sampler=section, seed=1)
    assert found != shuffled
    assert sorted(map(sampling.key_of, found)) == sorted(map(sampling.key_of, shuffled))


def test_a_grid_over_a_continuous_range_is_refused(tmp_path):
    tree = {"training": {"rate": {"type": "float", "low": 0.0, "high": 1.0}}}
    with pytest.raises(ConfigError, match=r"training\.rate has no `step`"):
        open_study(tmp_path, tree=tree, sampler=SamplerSection(name="grid"))
    # The refused study released its lock.
    open_study(tmp_path, tree=tree).close()


def test_no_warning_and_no_value_beyond_the_last_step():
    leaf = space_of({"a": {"x": {"type": "float", "low": 0.0, "high": 1.0, "step": 0.3}}})
    assert distribution(leaf.parameters[0].leaf).high == pytest.approx(0.9)
    leaf = space_of({"a": {"x": {"type": "int", "low": 1, "high": 10, "step": 4}}})
    assert distribution(leaf.parameters[0].leaf).high == 9


@pytest.mark.parametrize(
    ("section", "rungs"),
    [
        (PrunerSection(), [3, 9]),
        (PrunerSection(min_rows=450, reduction_factor=2), [5, 10]),
        (PrunerSection(min_rows=1), [1, 3, 9]),
        (PrunerSection(name="none"), []),
        (PrunerSection(name="hyperband"), [3, 9]),
        (PrunerSection(name="median"), []),
        (PrunerSection(name="patient"), []),
    ],
)
def test_rungs_in_report_steps(section, rungs):
    assert sampling.rung_steps(section, report_rows=100, n_reports=16) == rungs
