"""The forecast against sweeps that can be computed by hand, and against the pruner itself."""

from __future__ import annotations

import heapq
import random

import optuna
import pytest

from jamba_ray.study.forecast import Course, forecast

NO_RUNGS = Course(rows=100, rungs=(), factor=3, runners=2)


def test_equal_trials_without_rungs_are_arithmetic():
    found = forecast([0.5], NO_RUNGS, 5)
    assert found.p50_s == found.p90_s == pytest.approx(150.0)  # 3 rounds of 50 s on 2 runners


def test_running_trials_need_only_their_rest():
    assert forecast([0.5], NO_RUNGS, 0, running=[90, 40]).p90_s == pytest.approx(30.0)


def test_many_trials_are_scaled():
    exact = forecast([0.5], NO_RUNGS, 500).p50_s
    assert forecast([0.5], NO_RUNGS, 5000).p50_s == pytest.approx(10 * exact)


def test_unequal_rates_spread_the_quantiles():
    found = forecast([0.1, 1.0], NO_RUNGS, 12)
    assert found.p50_s < found.p90_s


def test_rungs_save_what_the_pruner_saves():
    """60 trials of random order through Optuna's own pruner: half of such sweeps take longer than
    P50, one in ten longer than P90 (bounds: 99.9 % of binomials of 40 sweeps)."""
    course = Course(rows=27, rungs=(3, 9), factor=3, runners=2)
    found = forecast([1.0], course, 60)
    took = [_simulated(seed) for seed in range(40)]
    assert 10 <= sum(t > found.p50_s for t in took) <= 30
    assert sum(t > found.p90_s for t in took) <= 11
    assert found.p90_s < forecast([1.0], Course(27, (), 3, 2), 60).p50_s / 2


def _simulated(seed: int) -> float:
    """Wall time of 60 trials on 2 runners, each with one random score, one row a second."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    rng = random.Random(seed)
    study = optuna.create_study(
        direction="maximize",
        pruner=optuna.pruners.SuccessiveHalvingPruner(
            min_resource=3, reduction_factor=3, min_early_stopping_rate=0
        ),
        sampler=optuna.samplers.RandomSampler(seed=seed),
    )
    runners = [0.0, 0.0]
    for _ in range(60):
        trial, value = study.ask(), rng.random()
        took = 27
        for step in (3, 9):
            trial.report(value, step)
            if trial.should_prune():
                took = step
                break
        study.tell(trial, value, state=optuna.trial.TrialState.COMPLETE)
        heapq.heapreplace(runners, runners[0] + took)
    return max(runners)
