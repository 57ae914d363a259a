"""The grammar of ``constraint``, and what breaks a limit."""

from __future__ import annotations

import pytest

from jamba_ray.config.limit import parsed


@pytest.mark.parametrize(
    "text", ["model_size_mb<5", " model_size_mb  <  5.0 ", "model_size_mb < 5e0"]
)
def test_a_limit_is_read_and_written(text):
    assert str(parsed(text)) == "model_size_mb < 5"


@pytest.mark.parametrize(
    ("text", "value", "breaks"),
    [
        ("latency_ms < 2", 2.0, True),
        ("latency_ms <= 2", 2.0, False),
        ("recall_at_fpr_1e-2 >= 0.5", 0.4, True),
        ("recall_at_fpr_1e-2 > 0.5", 0.5, True),
        ("ece < 1e-2", 0.001, False),
    ],
)
def test_what_breaks_a_limit(text, value, breaks):
    assert (parsed(text).violation(value) > 0) == breaks


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("latency < 2", "Did you mean `latency_ms`"),
        ("latency_ms", "must be a measure, one of"),
        ("latency_ms < 1e999", "finite number"),
        ("latency_ms < 1.2.3", "finite number"),
        ("__import__('os').system('x') < 1", "must be a measure, one of"),
        ("latency_ms < 2 < 3", "must be a measure, one of"),
    ],
)
def test_anything_else_is_a_sentence(text, says):
    with pytest.raises(ValueError, match=says):
        parsed(text)
