"""Trials are measured by their runner, and the winner is picked from a front measured again."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest

from jamba_ray.config.run import SweepConfig
from jamba_ray.data import prepare
from jamba_ray.driver import best_front
from jamba_ray.reports.words import front_in_words
from jamba_ray.runners.runner import Runner
from jamba_ray.runs.run_folder import RunFolder
from jamba_ray.study.records import TrialSpec
from tests.driver.team_run import record

WIDTHS = (16, 512)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("front")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 3))
    frame = pd.DataFrame(x, columns=["a", "b", "c"]).assign(is_threat=(x[:, 0] > 0.8).astype(int))
    frame.to_csv(folder / "rows.csv", index=False)
    config = SweepConfig.model_validate(
        {
            "model": {"name": "mlp"},
            "training": {"epochs": 1, "batch_size": 64},
            "data": {"name": "table", "path": str(folder / "rows.csv")},
            "objective": ["average_precision", "ece", "model_size_mb", "latency_ms"],
            "store": str(folder),
            "run": "run",
        }
    )
    data = prepare(config.data, lambda words: None)
    run = RunFolder.of(config.store, "run").create()
    runner = Runner(run, data, measures_costs=True)
    reported = []

    def report(reports):
        reported.extend(runner.costs.further(r.trial, r.metrics) for r in reports)
        return ["continue"] * len(reports)

    specs = [TrialSpec(n, {"model.hidden_dim": width}) for n, width in enumerate(WIDTHS)]
    outcomes = [runner.train([spec], config.trial(), report)[0] for spec in specs]
    return config, data, run, outcomes, reported


def trials_of(outcomes, values):
    made = [
        record(o.number, "mlp", v[0], o.best_step, o.checkpoint)
        for o, v in zip(outcomes, values, strict=True)
    ]
    return [
        dataclasses.replace(t, values=v, metrics=o.metrics)
        for t, o, v in zip(made, outcomes, values, strict=True)
    ]


def test_a_runner_measures_size_and_latency_early_and_at_the_end(trained):
    *_, outcomes, reported = trained
    small, large = (o.metrics for o in outcomes)
    assert [o.state for o in outcomes] == ["complete", "complete"]
    assert 0 < small["model_size_mb"] < large["model_size_mb"]
    assert 0 < small["latency_ms"] < 1000
    ece, size, latency = reported[0]
    assert 0 <= ece <= 1
    assert size == pytest.approx(small["model_size_mb"], rel=0.1)
    assert latency > 0


def test_the_pick_is_of_the_front_by_its_rule(trained):
    config, data, run, outcomes, _ = trained
    only = config.model_copy(update={"further": ("model_size_mb",)})
    sizes = [o.metrics["model_size_mb"] for o in outcomes]
    trials = trials_of(outcomes, [(0.8, sizes[0]), (0.9, sizes[1])])
    store = run.checkpoint_store()
    for pick, winner in ((0.0, 1), (0.2, 0)):
        rule = only.model_copy(update={"pick": pick})
        found = best_front.picked(rule, data, store, trials[1], trials)
        assert (found.winner.number, found.front["picked"]) == (winner, winner)
        assert [t["trial"] for t in found.front["trials"]] == [1, 0]
        assert f"Trial {winner} was picked" in front_in_words(found.front)
    worse = trials_of(outcomes, [(0.8, sizes[0]), (0.7, sizes[1])])
    assert best_front.picked(only, data, store, worse[0], worse).front["trials"][0]["trial"] == 0
    one = config.model_copy(update={"further": ()})
    assert best_front.picked(one, data, store, trials[1], trials) == best_front.Picked(
        trials[1], None
    )


def test_a_limit_holds_for_costs_as_they_are_measured_again(trained):
    config, data, run, outcomes, _ = trained
    small, large = (o.metrics["model_size_mb"] for o in outcomes)
    trials = trials_of(outcomes, [(0.8, small), (0.9, 1.01 * small)])
    limits = (f"model_size_mb < {(small + large) / 2:.6f}",)
    changes = {"further": ("model_size_mb",), "pick": 0.0}
    for constraint, winner in (((), 1), (limits, 0)):
        rule = config.model_copy(update={**changes, "constraint": constraint})
        found = best_front.picked(rule, data, run.checkpoint_store(), trials[1], trials)
        assert found.winner.number == winner
