"""Tests the decision between two configurations: its error rates by simulation, and its parts."""

from __future__ import annotations

import numpy as np
import pytest

from jamba_ray.evaluation.certainty import (
    Replicate,
    compared,
    first_look,
    hopeless,
    levels,
    replicate,
)
from jamba_ray.evaluation.counts import blocks
from jamba_ray.evaluation.crossed_gain import Halves
from jamba_ray.evaluation.objective import objective_of

AP = "average_precision"
UNITS = 200
_A, _B = (np.sqrt(39 / 40) * pattern for pattern in (np.tile([1, -1], 20), np.repeat([1, -1], 20)))
"""Draws whose variance is 1 and which do not depend on each other."""


def claim(rng, n, rows, seeds, gap=0.0, baseline=False, looks=True, corrected=True):
    """Simulates a search of ``n`` trials, of which the first is better by ``gap``, and returns
    (verdict, true difference) of what is claimed of its best two, or of its best and a baseline.

    ``rows`` and ``seeds`` are standard deviations of a configuration's objective.
    """
    truth = np.zeros(n)
    truth[0] = gap
    by_rows = rng.normal(0, rows, n)
    order = np.argsort(-(truth + by_rows + rng.normal(0, seeds, n)))
    a = truth[order[0]], by_rows[order[0]]
    b = (0.0, rng.normal(0, rows)) if baseline else (truth[order[1]], by_rows[order[1]])
    spread = rows * np.sqrt(rng.chisquare(UNITS - 1) / (UNITS - 1))

    def models(side, draws, k):
        return [Replicate(sum(side) + rng.normal(0, seeds), spread * draws) for _ in range(k)]

    first, most = first_look(1 if baseline else 2), 4
    spent = levels(1, most - first + 1 if looks else 1, n if baseline and corrected else 1)
    ours, its = models(a, _A, most), models(b, _B, most)
    if baseline:
        its = [Replicate(sum(b), spread * _B)]
    for k in range(first, most + 1):
        found = compared(ours[:k], its[:k], AP, UNITS, spent, margin=0.005)
        if found.verdict != "open" or not found.more_seeds_help:
            break
    return found.verdict, a[0] - b[0]


def rate(times, seed=0, **how):
    rng = np.random.default_rng(seed)
    verdicts = [claim(rng, **how)[0] for _ in range(times)]
    return sum(verdict in ("better", "worse") for verdict in verdicts) / times


@pytest.mark.parametrize(
    "how",
    [
        {"n": 2, "rows": 0.0003, "seeds": 0.003},
        {"n": 2, "rows": 0.003, "seeds": 0.0003},
        {"n": 12, "rows": 0.003, "seeds": 0.001, "baseline": True},
    ],
)
def test_equal_configurations_are_seldom_separated(how):
    # Of 100 at most 5 by the rule; more than 10 with a chance of 1 %.
    assert rate(100, **how) <= 0.1


def test_a_gap_that_matters_is_found():
    assert rate(60, n=2, rows=0.001, seeds=0.001, gap=0.01) >= 0.9


def test_without_spending_and_correction_there_are_too_many_false_claims():
    """The sabotage twin: each look at 5 %, and the best of 40 held against the baseline as if it
    were any."""
    how = {"n": 40, "rows": 0.003, "seeds": 0.001, "baseline": True}
    assert rate(100, **how, looks=False, corrected=False) > 0.1


@pytest.mark.slow
@pytest.mark.parametrize("baseline", [False, True])
@pytest.mark.parametrize("n", [2, 12, 40])
@pytest.mark.parametrize(
    ("rows", "seeds"), [(0.003, 0.003), (0.0003, 0.003), (0.003, 0.0003), (0.003, 0.001)]
)
def test_false_claims_are_at_most_five_percent(n, rows, seeds, baseline):
    # 2,000 times; three standard errors above 5 % are 6.5 %.
    assert rate(2000, n=n, rows=rows, seeds=seeds, baseline=baseline) <= 0.065


@pytest.mark.slow
def test_power_and_its_sabotage_twin():
    assert rate(1000, n=2, rows=0.002, seeds=0.002, gap=0.02) >= 0.95
    assert rate(1000, n=12, rows=0.001, seeds=0.001, gap=0.01, baseline=True) >= 0.95
    no_spending = {"n": 2, "rows": 0.0003, "seeds": 0.003, "looks": False}
    assert rate(2000, **no_spending) > 0.065


@pytest.mark.slow
def test_what_is_called_equal_seldom_differs_by_the_margin():
    rng = np.random.default_rng(1)
    found = [claim(rng, 2, 0.0005, 0.0005, gap=0.005)[0] for _ in range(2000)]
    assert sum(verdict == "equal" for verdict in found) / 2000 <= 0.05


def of(values, spread=1e-6):
    return [Replicate(value, spread * _A) for value in values]


def decided(a, b, objective=AP, margin=0.005, spent=None):
    return compared(of(a), of(b, 2e-6), objective, UNITS, spent or levels(1, 1), margin)


def test_each_verdict():
    assert decided([0.9, 0.901, 0.902], [0.8, 0.801, 0.802]).verdict == "better"
    assert decided([0.8, 0.801, 0.802], [0.9, 0.901, 0.902]).verdict == "worse"
    assert decided([0.9, 0.9001, 0.9002], [0.9001]).verdict == "equal"
    assert decided([0.89, 0.9, 0.91], [0.9, 0.91, 0.92]).verdict == "open"
    # Less than 0.01 better, and perhaps more than that worse.
    not_better = decided([0.893, 0.898, 0.903], [0.9, 0.905, 0.91], margin=0.01)
    assert not_better.verdict == "not_better"


def test_less_log_loss_is_better():
    assert decided([0.3, 0.301, 0.302], [0.4, 0.401], objective="log_loss").verdict == "better"


def test_one_model_has_no_spread_of_seeds():
    found = decided([0.9], [0.8])
    assert found.verdict == "better"
    assert not found.more_seeds_help
    assert first_look(0) == 1


def test_seeds_help_only_where_they_make_the_error():
    assert decided([0.89, 0.9, 0.91], [0.9, 0.91, 0.92]).more_seeds_help
    wide = [Replicate(value, 0.02 * _A) for value in (0.9, 0.9001, 0.9002)]
    found = compared(wide, of([0.9]), AP, UNITS, levels(1, 3), 0.005)
    assert found.verdict == "open"
    assert not found.more_seeds_help
    assert hopeless(compared(wide[:1], of([0.9])[:1], AP, UNITS, levels(1, 1), 0.005))


def test_what_is_spent_adds_up():
    one = levels(n_comparisons=2, n_looks=3, n_chosen_from=10)
    assert 2 * 3 * (one.low + one.high) == pytest.approx(0.05)
    assert one.low_of_rows == pytest.approx(one.low / 10)


def test_a_replicate_has_the_objective_and_draws_that_pair():
    rng = np.random.default_rng(0)
    labels = rng.random(400) < 0.3
    scores = labels + rng.normal(size=400)
    rows = Halves(np.zeros(400, dtype=bool), np.arange(400))
    found = replicate(labels, scores, rows, AP)
    again = replicate(labels, scores + 1e-9 * rng.normal(size=400), rows, AP)
    assert found.value == pytest.approx(objective_of(blocks(labels, scores)[0], AP))
    assert np.allclose(found.draws, again.draws, atol=1e-4)
    # Rows of one host are drawn together: it varies more where hosts differ.
    host = np.arange(400) // 20
    grouped = replicate(
        labels, labels + 4 * rng.normal(size=20)[host], Halves(rows.second, host), AP
    )
    alone = replicate(labels, labels + 4 * rng.normal(size=20)[host], rows, AP)
    assert grouped.draws.std() > 1.3 * alone.draws.std()
