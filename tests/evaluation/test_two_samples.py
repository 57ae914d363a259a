"""Tests the comparison of two samples: its false alarms by simulation, its power, its bursts."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import lfilter
from scipy.stats import binom, ks_2samp

from jamba_ray.evaluation.two_samples import (
    code_bins,
    compare_bins,
    design_effect,
    discoveries,
    numeric_bins,
)


def compared(window, reference, seed=0, blocks=()):
    here, there, n_bins = numeric_bins(window, reference)
    return compare_bins(here, there, n_bins, ordered=True, seed=seed, blocks=blocks)


def alarms(draw, n, m, windows, seed, **more):
    rng = np.random.default_rng(seed)
    p = [compared(draw(rng, n), draw(rng, m), i, **more).p for i in range(windows)]
    return sum(one <= 0.05 for one in p)


SHAPES = {
    "normal": lambda rng, n: rng.normal(size=n),
    "mostly zero": lambda rng, n: np.maximum(rng.normal(size=n) - 0.8, 0.0),
    "log-normal": lambda rng, n: np.exp(3.0 * rng.normal(size=n)),
    "few values": lambda rng, n: rng.integers(0, 3, n).astype(float),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_false_alarms_are_as_rare_as_asked_for(shape):
    # 5 % of 60 are 3; more than 8 come with a chance of 0.3 % where the level holds.
    assert alarms(SHAPES[shape], 200, 1000, 60, 1) <= binom.ppf(0.997, 60, 0.05)


@pytest.mark.slow
@pytest.mark.parametrize("n", [200, 2_000, 20_000])
@pytest.mark.parametrize("shape", SHAPES)
def test_false_alarms_are_as_rare_as_asked_for_over_200_windows(shape, n):
    assert alarms(SHAPES[shape], n, 5_000, 200, n) <= binom.ppf(0.997, 200, 0.05)


def test_a_fixed_limit_of_psi_is_no_test():
    """The sabotage twin of the level: what PSI > 0.2 says of unchanged windows depends on n."""
    rng = np.random.default_rng(0)
    psi = {
        n: [compared(rng.normal(size=n), rng.normal(size=2000), i).psi for i in range(10)]
        for n in (60, 4_000)
    }
    assert np.mean(np.array(psi[60]) > 0.2) > 0.8
    assert max(psi[4_000]) < 0.1


def test_it_sees_what_a_kolmogorov_smirnov_test_does_not():
    rng = np.random.default_rng(3)
    ours = theirs = 0
    for i in range(20):
        reference, window = rng.normal(size=3_000), rng.normal(0.0, 1.2, size=500)
        ours += compared(window, reference, i).p <= 0.05
        theirs += ks_2samp(window, reference).pvalue <= 0.05
    assert ours >= theirs + 5
    assert ours >= 15


def test_names_that_come_more_often_are_found():
    rng = np.random.default_rng(4)
    reference = rng.choice(4, 2_000, p=[0.6, 0.3, 0.09, 0.01])
    window = rng.choice(4, 500, p=[0.6, 0.27, 0.09, 0.04])
    found = compare_bins(*code_bins(window, reference), ordered=False)
    assert found.p < 0.01
    assert 0.01 < found.distance < 0.08


def bursty(rng, n, m, total=20_000):
    x = lfilter([1.0], [1.0, -0.8], rng.normal(size=total + n))
    at = np.sort(rng.choice(total, m, replace=False))
    counts = [max(8, total // n)]
    while 4 * counts[-1] <= m // 5:
        counts.append(4 * counts[-1])
    return x[total:], x[at], [(at * k // total, total // k) for k in counts]


def test_rows_in_bursts_make_no_alarm_that_rows_by_chance_would_not():
    rng = np.random.default_rng(5)
    with_blocks = without = 0
    for i in range(25):
        window, reference, blocks = bursty(rng, 500, 2_000)
        with_blocks += compared(window, reference, i, blocks).p <= 0.05
        without += compared(window, reference, i).p <= 0.05
    assert with_blocks <= 5
    assert without >= 10  # the sabotage twin: rows taken for independent ones


def test_rows_without_bursts_lose_nothing():
    rng = np.random.default_rng(6)
    effects = []
    for _ in range(20):
        bins = rng.integers(0, 20, 2_000)
        blocks = [(np.arange(2_000) * 40 // 2_000, 50)]
        effects.append(design_effect(bins, blocks, 1_000, ordered=True))
    assert np.mean(np.array(effects) > 1.0) <= 0.15


def test_discoveries_are_those_of_benjamini_and_hochberg():
    from scipy.stats import false_discovery_control

    rng = np.random.default_rng(7)
    for _ in range(20):
        p = rng.random(12) ** 3
        assert discoveries(p, 0.05) == list(false_discovery_control(p) <= 0.05)
    assert discoveries([], 0.05) == []


def test_a_change_is_found_among_very_many_columns():
    rng = np.random.default_rng(8)
    here, there, n_bins = numeric_bins(rng.normal(0.5, 1.0, 500), rng.normal(size=2_000))
    assert compare_bins(here, there, n_bins, ordered=True, needed=0.05 / 500).p <= 0.05 / 500
