"""Tests that a promise may be looked at after every row, by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from jamba_ray.evaluation.sequential import Wager, rate_interval


def ever_refuses(rng, limit, rate, rows, step=20):
    wager = Wager(limit)
    for _ in range(rows // step):
        wager = wager.after(rng.random(step) < rate)
        if wager.refutes(0.05):
            return wager.rows
    return None


def test_a_promise_that_holds_is_refused_seldom_however_often_it_is_looked_at():
    rng = np.random.default_rng(0)
    refused = sum(ever_refuses(rng, 0.05, 0.05, 2_000) is not None for _ in range(100))
    assert refused <= binom.ppf(0.997, 100, 0.05)


def test_an_ordinary_test_that_is_repeated_refuses_it_often():
    """The sabotage twin: the exact binomial test after each 20 rows."""
    rng = np.random.default_rng(1)
    refused = 0
    for _ in range(100):
        wrong = np.cumsum(rng.random((100, 20)) < 0.05, axis=None)[19::20]
        refused += bool((binom.sf(wrong - 1, np.arange(20, 2_001, 20), 0.05) <= 0.05).any())
    assert refused > 15


def test_a_broken_promise_is_refused_in_the_end():
    rng = np.random.default_rng(2)
    rows = [ever_refuses(rng, 0.05, 0.10, 4_000) for _ in range(20)]
    assert None not in rows
    assert np.median(rows) < 700


def test_rows_that_were_drawn_with_unequal_chances_make_a_fair_bet():
    """Flagged benign rows are drawn ten times as often: taken as they are they would refuse a
    promise that holds."""
    rng = np.random.default_rng(3)
    fair = naive = 0
    for _ in range(60):
        wrong = rng.random(5_000) < 0.05
        chance = np.where(wrong, 0.2, 0.02)
        drawn = rng.random(5_000) < chance
        fair += Wager(0.05).after(wrong[drawn], chance[drawn], 0.02).refutes(0.05)
        naive += Wager(0.05).after(wrong[drawn]).refutes(0.05)
    assert fair <= binom.ppf(0.997, 60, 0.05)
    assert naive > 50


def test_it_goes_through_json():
    wager = Wager(0.01).after(np.array([True, False, False]))
    assert Wager.from_json(wager.to_json()) == wager
    assert (wager.rows, wager.wrong) == (3, 1)
    for broken in ({}, {**wager.to_json(), "log_wealth": [0.0]}):
        with pytest.raises(ValueError, match="wager"):
            Wager.from_json(broken)


def test_the_interval_holds_at_all_times_at_once():
    rng = np.random.default_rng(4)
    missed = 0
    for _ in range(60):
        wrong = np.cumsum(rng.random(600) < 0.1)
        at = (20, 60, 150, 300, 600)
        found = [rate_interval(int(wrong[n - 1]), n) for n in at]
        missed += any(not one["low"] <= 0.1 <= one["high"] for one in found)
    assert missed <= binom.ppf(0.997, 60, 0.05)
    assert rate_interval(0, 0) is None
    assert rate_interval(0, 50)["low"] == 0.0
    assert rate_interval(50, 50)["high"] == 1.0
