from __future__ import annotations

import json

import pytest

from jamba_ray.cli import gate
from jamba_ray.errors import ConfigError


def _summary(value: float, objective="average_precision", part="test", data="d1"):
    scores = {objective: {"value": value, "low": value, "high": value}}
    return {
        "objective": objective,
        "data_fingerprint": data,
        "best": {"val": scores, **({"test": scores} if part == "test" else {})},
    }


@pytest.mark.parametrize(
    ("winner", "champion", "margin", "passed"),
    [
        (0.90, 0.90, 0.0, True),
        (0.90, 0.89, 0.0, True),
        (0.90, 0.904, 0.005, True),
        (0.90, 0.906, 0.005, False),
        (0.90, 0.900001, 0.0, False),
    ],
)
def test_a_winner_may_be_worse_by_the_margin_and_no_more(winner, champion, margin, passed):
    assert gate.judge(_summary(winner), _summary(champion), margin).passed is passed


def test_a_loss_is_better_when_it_is_lower():
    better, worse = _summary(0.2, "log_loss"), _summary(0.3, "log_loss")
    assert gate.judge(better, worse, 0.0).passed
    assert not gate.judge(worse, better, 0.05).passed


def test_validation_is_compared_where_one_has_no_test():
    verdict = gate.judge(_summary(0.8, part="val"), _summary(0.9), 0.01)
    assert verdict.sentence.startswith("val/average_precision: winner 0.80000, champion 0.90000")
    assert not verdict.passed


def test_what_cannot_be_compared_does_not_pass():
    other = _summary(0.9, "roc_auc")
    verdict = gate.judge(_summary(0.8), other, 1.0)
    assert not verdict.passed
    assert "the champion has none" in verdict.sentence


def test_different_data_is_said():
    assert "different data" in gate.judge(_summary(1.0), _summary(0.9, data="d2"), 0).sentence


def test_a_champion_that_is_none_is_refused(tmp_path):
    path = tmp_path / "summary.json"
    for content in ["", "{}", json.dumps({"best": None}), "[1]"]:
        path.write_text(content)
        with pytest.raises(ConfigError, match=r"submit\.champion"):
            gate.read_champion(str(path))
    with pytest.raises(ConfigError):
        gate.read_champion(str(tmp_path / "none.json"))
