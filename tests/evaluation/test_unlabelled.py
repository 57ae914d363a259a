"""Tests what is estimated without labels, against the labels."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit

from jamba_ray.evaluation.metrics import value_of
from jamba_ray.evaluation.prior_shift import mixture, prior_of
from jamba_ray.evaluation.unlabelled import estimated

CUT = 0.5


def rows(rng, n, shift=0.0, concept=0.0):
    """Scores [n] and labels: the score is sharper than the truth, as a network's often is."""
    z = rng.normal(-0.5 + shift, 2.0, n)
    return expit(1.5 * z + 0.3), rng.random(n) < expit(z - concept * np.abs(z) * 2.0)


def measured(label, score):
    flagged = score >= CUT
    return {
        "average_precision": value_of("average_precision", label, score),
        "roc_auc": value_of("roc_auc", label, score),
        "f1": value_of("f1", label, score, CUT),
        "recall": flagged[label].mean(),
        "precision": label[flagged].mean(),
        "fpr": flagged[~label].mean(),
    }


def held(draws, seed, m=2_000, n=1_000, prior=None, **change):
    rng = np.random.default_rng(seed)
    held_of: dict[str, int] = {}
    for i in range(draws):
        score, label = rows(rng, m)
        here, real = rows(rng, n, **change)
        found_prior = None
        if prior is not None:
            kept = mixture(real, prior, i)
            here, real = here[kept], real[kept]
            found_prior = prior_of(here, score, label)
        found = estimated(here, score, label, CUT, "platt", prior=found_prior, seed=i)
        for name, value in measured(real, here).items():
            one = found.metrics[name]
            held_of[name] = held_of.get(name, 0) + (one["low"] <= value <= one["high"])
    return held_of


@pytest.mark.parametrize("change", [{}, {"shift": 1.0}, {"prior": 0.1}], ids=str)
def test_it_holds_where_its_supposition_does(change):
    # Each holds with 95 %: two of five or more miss with a chance of 2 %, in 18 looks of which most
    # depend on each other.
    assert min(held(5, 0, m=600, n=600, **change).values()) >= 3


@pytest.mark.slow
@pytest.mark.parametrize(
    "change", [{}, {"shift": 1.0}, {"shift": -1.0}, {"prior": 0.1, "n": 4_000}], ids=str
)
def test_it_holds_in_at_least_90_of_100(change):
    assert min(held(100, 3, **change).values()) >= 90


def test_it_does_not_hold_where_the_concept_has_changed():
    """What no estimate without labels can see, which is why ``watch`` says so in every answer."""
    assert held(2, 4, m=600, n=600, concept=1.0)["average_precision"] == 0


def test_without_the_correction_it_would_not_hold_where_threats_are_rarer():
    rng = np.random.default_rng(5)
    score, label = rows(rng, 2_000)
    here, real = rows(rng, 4_000)
    kept = mixture(real, 0.05)
    found = estimated(here[kept], score, label, CUT, "platt")
    assert found.metrics["precision"]["low"] > real[kept][here[kept] >= CUT].mean()


def test_weights_that_leave_too_few_rows_give_a_reason():
    score, label = rows(np.random.default_rng(6), 500)
    weights = np.zeros(500)
    weights[:5] = 1.0
    found = estimated(score, score, label, CUT, "platt", weights=weights)
    assert found.metrics == {}
    assert "reference rows" in found.reason


def test_the_share_of_threats_is_found_by_its_interval():
    rng = np.random.default_rng(7)
    held_of = 0
    for i in range(60):
        score, label = rows(rng, 3_000)
        here, real = rows(rng, 4_000)
        kept = mixture(real, 0.15, i)
        found = prior_of(here[kept], score, label)
        assert found.differs
        held_of += found.low <= real[kept].mean() <= found.high
    assert held_of >= 52
    seen = [prior_of(rows(rng, 500)[0], score, label).differs for _ in range(40)]
    assert sum(seen) <= 4
    assert prior_of(here, np.full(100, 0.5), np.arange(100) < 50) is None
