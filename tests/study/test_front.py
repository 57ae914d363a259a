"""Fronts, crowding, hypervolume and picks: against Optuna's, and by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from optuna._hypervolume import compute_hypervolume
from optuna.study._multi_objective import _fast_non_domination_rank

from jamba_ray.study.front import as_losses, crowding, hypervolume, n_ahead, pick, ranks

FRONT = np.array([[0.0, 10.0], [1.0, 2.0], [5.0, 1.0], [10.0, 0.0]])


def test_fronts_and_hypervolume_are_optunas():
    rng = np.random.default_rng(0)
    for _ in range(60):
        m = int(rng.integers(2, 4))
        points = rng.integers(0, 6, size=(int(rng.integers(1, 20)), m)).astype(float)
        assert ranks(points).tolist() == _fast_non_domination_rank(points).tolist()
        reference = np.full(m, 6.5)
        expected = compute_hypervolume(points, reference)
        assert hypervolume(points, reference) == pytest.approx(expected)


def test_of_one_front_those_are_ahead_whose_neighbours_are_farther_away():
    assert crowding(FRONT).tolist() == pytest.approx([math.inf, 1.4, 1.1, math.inf])
    assert n_ahead(np.array([3.0, 3.0]), FRONT) == 4
    assert n_ahead(np.array([-1.0, -1.0]), FRONT) == 0
    assert n_ahead(FRONT[2], FRONT[[0, 1, 3]]) == 3
    assert n_ahead(FRONT[0], FRONT[1:]) == 0


def test_a_rule_picks_from_a_front():
    assert pick(FRONT, "knee") == 1
    assert [pick(FRONT, within) for within in (0.0, 1.0, 6.0, 99.0)] == [0, 1, 2, 3]
    assert pick(FRONT[:1], "knee") == 0
    three = np.array([[0.0, 1.0, 5.0], [0.0, 1.0, 4.0]])
    assert pick(three, 0.5) == 1


def test_more_is_better_of_what_is_maximised():
    points = as_losses([(0.9, 2.0), (0.8, 3.0)], ("maximize", "minimize"))
    assert ranks(points).tolist() == [0, 1]
