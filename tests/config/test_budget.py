"""Hours and dollars become one limit."""

from __future__ import annotations

import pytest

from jamba_ray.config.budget import BudgetSection, limit_of
from jamba_ray.config.mistakes import validate
from jamba_ray.errors import ConfigError


def test_no_budget_is_no_limit():
    assert limit_of(BudgetSection()) is None


def test_the_tighter_of_hours_and_dollars_counts():
    both = {"hours": 2.0, "usd": 3.0}
    hours = limit_of(BudgetSection(**both, usd_per_hour=1.0))
    assert (hours.seconds, hours.words) == (7200.0, "`budget.hours` (2 h)")
    dollars = limit_of(BudgetSection(**both, usd_per_hour=2.0))
    assert (dollars.seconds, dollars.words) == (5400.0, "`budget.usd` (3 USD at 2 USD an hour)")


def test_dollars_without_a_price_are_refused():
    with pytest.raises(ConfigError, match=r"usd_per_hour"):
        limit_of(BudgetSection(usd=3.0, hours=1.0))


@pytest.mark.parametrize("name", ["hours", "usd", "usd_per_hour"])
def test_nothing_is_no_budget(name):
    with pytest.raises(ConfigError, match="above 0"):
        validate(BudgetSection, {name: 0})
