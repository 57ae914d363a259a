"""What is said of a winner beside its numbers."""

import pytest

from jamba_ray.driver.verdict import left_interval


@pytest.mark.parametrize(("value", "says"), [(0.342, "below"), (0.9, "above"), (0.8, None)])
def test_a_test_outside_what_validation_led_to_expect_is_said(value, says):
    expected = {"metric": "average_precision", "low": 0.756, "high": 0.895, "holds": says is None}
    best = {"expected": expected, "test": {"average_precision": {"value": value}}}
    found = left_interval(best)
    assert len(found) == (says is not None)
    if says:
        assert (
            f"({value:.4f}) is {says} what validation led to expect (0.7560 to 0.8950" in found[0]
        )
    assert left_interval({"expected": {**expected, "holds": None}}) == []
    assert left_interval({"expected": None}) == []
    assert left_interval(None) == []
