"""Tests that the attack is as strong as it can be where that is known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from jamba_ray.config.data import PreprocessingSection
from jamba_ray.config.mutable import MutableColumn
from jamba_ray.data import Preprocessor
from jamba_ray.data.columns import detect
from jamba_ray.data.evasion import attacker_of
from jamba_ray.evaluation.evasion import descend, needed, search

NAMES = ["a", "b", "c"]


@pytest.fixture(scope="module")
def case():
    """Returns an attacker of three columns, one of them of whole numbers, and values [N, 3]."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(500, 3)) * [1, 5, 40], columns=NAMES)
    frame["c"] = frame["c"].round()
    preprocessor, _ = Preprocessor.fit(frame, detect(frame), PreprocessingSection())
    mutable = {
        "a": MutableColumn(),
        "b": MutableColumn(direction="up", budget=2.0),
        "c": MutableColumn(),
    }
    attacker = attacker_of(preprocessor, mutable, lambda name: name == "c")
    return attacker, frame.to_numpy()[:60]


def test_on_a_linear_model_both_reach_the_known_optimum(case):
    attacker, raw = case
    w = np.array([1.5, -2.0, 0.5])

    def margin(values):
        return attacker.scaled(values).astype(np.float64) @ w

    low, high = (attacker.scaled(end).astype(np.float64) for end in attacker.box(raw))
    optimum = np.minimum(low * w, high * w).sum(axis=1)
    assert (optimum < margin(raw) - 0.5).all()
    for _, found in (
        search(margin, attacker, raw, sweeps=1, draws=0),
        descend(margin, lambda x: np.broadcast_to(w, x.shape), attacker, raw),
    ):
        np.testing.assert_allclose(found, optimum, atol=1e-5)
    # An attack that only draws at random, and seldom, does not reach it.
    _, weak = search(margin, attacker, raw, sweeps=0, draws=3)
    assert (weak > optimum + 1e-3).any()


def test_changes_that_do_not_lower_the_score_are_taken_back(case):
    attacker, raw = case

    def margin(values):
        return attacker.scaled(values)[:, 0].astype(np.float64)

    _, high = attacker.box(raw)
    best, value = search(margin, attacker, raw, start=high, draws=0)
    assert (best[:, 1:] != raw[:, 1:]).any(axis=0).all()
    least, same = needed(margin, raw, best, value)
    assert np.array_equal(least[:, 1:], raw[:, 1:])
    assert np.array_equal(same, value)


def test_the_gradient_is_at_least_as_strong_as_as_many_random_changes(case):
    attacker, raw = case
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Linear(3, 32),
        torch.nn.Tanh(),
        torch.nn.Linear(32, 32),
        torch.nn.Tanh(),
        torch.nn.Linear(32, 1),
    )
    scored = 0

    def margin(values):
        nonlocal scored
        scored += len(values)
        with torch.no_grad():
            return net(torch.tensor(attacker.scaled(values)))[:, 0].double().numpy()

    def slope(features):
        nonlocal scored
        scored += len(features)
        x = torch.tensor(features, dtype=torch.float32, requires_grad=True)
        return torch.autograd.grad(net(x).sum(), x)[0].double().numpy()

    _, by_slope = descend(margin, slope, attacker, raw)
    n, scored = scored // len(raw), 0
    _, by_chance = search(margin, attacker, raw, sweeps=0, draws=n - 1)
    assert scored == n * len(raw)
    assert by_slope.mean() <= by_chance.mean()
    assert np.mean(by_slope <= by_chance + 1e-3) > 0.8
