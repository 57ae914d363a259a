"""How long a sweep will still take is said from its start, and never off by a factor of ten."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from jamba_ray.cli.composition import compose_section
from jamba_ray.cli.first_rates import _rate, all_corners, first_rates, row_s
from jamba_ray.cli.time_left import TimeLeft
from jamba_ray.config.family import FAMILIES
from jamba_ray.config.run import SweepConfig
from jamba_ray.config.sweep_space import parse_space
from jamba_ray.data import prepare
from jamba_ray.study.forecast import Forecast
from jamba_ray.study.records import SweepProgress

RECORDED = json.loads((Path(__file__).parent / "data" / "recorded_sweeps.json").read_text())
"""Sweeps of 2026-11-28 on 2 cores that other work loaded: what the display was told, and when."""


def sweep(*words):
    config = compose_section(SweepConfig, "config", words)
    return config, parse_space(config), prepare(config.data)


def trial(number, rows, seconds):
    return SimpleNamespace(number=number, rows_seen=rows, seconds=seconds, origin=None)


def progress_of(look, n_trials):
    return SweepProgress(
        n_trials=n_trials,
        counts={"complete": look["n_finished"], "running": len(look["running"])},
        best=None,
        running=tuple(trial(*seen) for seen in look["running"]),
        finished=tuple(trial(*seen) for seen in look["finished"]),
        failures={},
        elapsed_s=look["elapsed_s"],
        goodput_s=0.0,
        runners=look["runners"],
        ended=None,
    )


@pytest.mark.parametrize("name", sorted(RECORDED))
def test_what_is_left_is_never_off_by_ten(name):
    recorded = RECORDED[name]
    config, space, data = sweep(*recorded["args"])
    now, before = [recorded["begun"]], Forecast(*recorded["forecast"])
    left = TimeLeft(config, space, data, lambda: before, clock=lambda: now[0])
    ratios = []
    for look in recorded["looks"]:
        now[0] = look["t"]
        left.look(progress_of(look, config.n_trials))
        ratios.append((left.seconds() / (recorded["total"] - look["t"]), look["t"]))
    # By three where the machine was the most loaded.
    assert min(ratios)[0] > 0.2, min(ratios)
    assert max(ratios)[0] < 5, max(ratios)


def test_before_a_trial_has_reported_training_is_still_to_come():
    config, space, data = sweep("+sweep=attention_heads", "data.n_samples=1000")
    now = [0.0]
    left = TimeLeft(config, space, data, lambda: Forecast(68.0, 90.0), clock=lambda: now[0])
    assert left.seconds() == pytest.approx(68.0 + 3.0)
    now[0] = 50.0  # Ray is late
    assert left.seconds() == pytest.approx(25.0 + 60.0 + 3.0)


def test_a_budget_ends_a_sweep_sooner():
    words = ("+sweep=attention_heads", "data.n_samples=1000", "budget.hours=0.01")
    config, space, data = sweep(*words)
    now = [0.0]
    left = TimeLeft(config, space, data, lambda: Forecast(600.0, 900.0), clock=lambda: now[0])
    assert left.seconds() == pytest.approx(36.0 + 3.0)


def test_nothing_is_said_where_nothing_is_known():
    config, space, data = sweep("+sweep=attention_heads", "data.n_samples=1000")
    assert TimeLeft(config, space, data).seconds() is None


def test_each_family_is_timed_and_a_stop_ends_it_soon():
    words = ("+sweep=rivals", "data.n_samples=4000", "model.hidden_dim=8", "training.epochs=1")
    config, space, data = sweep(*words)
    corners = all_corners(config.trial(), space)
    families = {"attention", "catboost", "lightgbm", "logistic", "mlp", "random_forest"}
    assert {corner.model.name for corner in corners} == families
    rows = len(data.train)
    rates = first_rates(config.trial(), space, data, rows, lambda: False)
    assert len(rates) == len(corners)
    assert all(0 < rate < 0.1 for rate in rates)
    seen = []

    def stop():
        seen.append(1)
        return True

    row_s(corners[0], data, stop)
    assert len(seen) == 1


def test_a_thousand_trees_are_timed_by_a_few(monkeypatch):
    config, _, data = sweep("+sweep=attention_heads", "data.n_samples=1000")
    trial = config.trial()
    grown = []

    def timed(one, data, n, stop):
        grown.append(one.model.n_estimators)
        return 0.5

    monkeypatch.setattr("jamba_ray.cli.first_rates._trees_s", timed)
    for name, rounds, times in (("random_forest", 320, 10), ("lightgbm", 320, 1)):
        model = FAMILIES[name](n_estimators=rounds)
        one = trial.model_copy(update={"model": model})
        assert _rate(one, data, 100, lambda: False) == pytest.approx(times * 0.5 / 100)
    assert grown == [32, 32, 320, 320]
