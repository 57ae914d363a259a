"""What is said of a winner beside its numbers."""

import pytest

from jamba_ray.driver.verdict import left_interval


@pytest.mark.parametrize(("value", "says"), [(0.342, "below"), (0.9, "above"), (0.8, None)])
def test_a_test_outside_the_interval_of_validation_is_said(value, says):
    val = {"average_precision": {"value": 0.83, "low": 0.756, "high": 0.895}}
    best = {"val": val, "test": {"average_precision": {"value": value, "low": 0.3, "high": 0.4}}}
    found = left_interval(best, "average_precision")
    assert len(found) == (says is not None)
    if says:
        assert f"({value:.4f}) is {says} validation's 95 % interval (0.7560 to 0.8950)" in found[0]
    assert left_interval({"val": val}, "average_precision") == []
    assert left_interval(None, "roc_auc") == []
