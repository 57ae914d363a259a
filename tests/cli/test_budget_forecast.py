"""What a sweep with a budget is told, from progress as the study gives it."""

from __future__ import annotations

import pytest

from jamba_ray.cli.budget_forecast import BudgetForecast
from jamba_ray.cli.summary_text import _budget
from jamba_ray.config.sweep_space import parse_space
from jamba_ray.study.records import RunningTrial, SweepProgress
from tests.study import trials

ROWS = 400
"""Of a trial: half an epoch."""


def budget_forecast(said, **budget):
    config = trials.config(
        n_trials=9,
        training={"epochs": 0.5, "report_rows": 20},
        budget=budget,
        pruner={"name": "asha"},
    )
    return BudgetForecast(config, parse_space(config), trials.data(), said.append)


def progress(*rows_seen, elapsed_s=60.0):
    running = tuple(
        RunningTrial(n, {}, 1, rows, rows / 800, 0.5, 0.1 * rows)
        for n, rows in enumerate(rows_seen)
    )
    return SweepProgress(
        n_trials=9,
        counts={"running": len(running)},
        best=None,
        running=running,
        finished=(),
        failures={},
        elapsed_s=elapsed_s,
        goodput_s=1.0,
        runners=3,
        ended=None,
        earlier_s=540.0,
    )


def test_a_forecast_comes_once_with_the_first_rung():
    said: list[str] = []
    shown: list[SweepProgress] = []
    it = budget_forecast(said, usd=1.0, usd_per_hour=4.0)
    watch = it.around(shown.append)
    watch(progress(60, 40, 60))  # the first rung is after three reports of 20 rows
    assert said == []
    watch(progress(80, 60, 60))
    watch(progress(100, 80, 80))
    assert len(shown) == 3
    assert len(said) == 1
    assert said[0].startswith("forecast: P50 ")
    assert said[0].endswith(" USD); ends after 15 min 00 s")
    told = it.summary()
    hours = told["forecast_hours"]["first_rung"]
    # 10 minutes are over; 9 trials of at most 40 s on 3 runners are two minutes more.
    assert 10 / 60 < hours["p50"] <= hours["p90"] <= 12 / 60
    assert told["spent_usd"] == pytest.approx(4.0 / 6)
    assert not told["used_up"]
    assert _budget(told).startswith("Budget: 0.67 of 1.00 USD; forecast after the first rung P50 1")


def test_what_is_used_up_is_said():
    it = budget_forecast([], hours=0.1)
    it.around(lambda progress: None)(progress(20))
    assert _budget(it.summary()) == "Budget: 10 min 00 s of 6 min 00 s (used up)."


def test_without_a_budget_nothing_is_said():
    said: list[str] = []
    it = budget_forecast(said)
    it.before()
    watch = print
    assert it.around(watch) is watch
    assert (it.summary(), said) == (None, [])
