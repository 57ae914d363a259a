"""When a sweep ends by itself."""

from __future__ import annotations

from jamba_ray.config.budget import BudgetSection, limit_of
from jamba_ray.config.direction import is_score
from jamba_ray.study.ending import out_of_time, too_many_failed


def test_more_than_half_of_the_first_twenty():
    assert too_many_failed(["failed"] * 10 + ["complete"] * 10, 60, None) is None
    assert too_many_failed(["failed"] * 11, 11, None) is not None


def test_max_failed_trials_is_exact():
    assert too_many_failed(["failed"] * 2, 2, 3) is None
    assert too_many_failed(["complete"] * 20, 3, 3) == (
        "3 trials failed, which `max_failed_trials` does not allow"
    )
    assert too_many_failed(["failed"] * 15, 15, 100) is None


def test_time():
    assert out_of_time(1e9, None) is None
    limit = limit_of(BudgetSection(hours=0.5))
    assert out_of_time(1799.9, limit) is None
    assert out_of_time(1800.0, limit) == "`budget.hours` (0.5 h) is used up"


def test_only_finite_values_compare():
    assert not is_score(None)
    assert not is_score(float("nan"))
    assert not is_score(float("-inf"))
    assert is_score(0)
