"""Tests that ``robustness`` as the objective judges every family alike."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from jamba_ray.config.data import TableSection
from jamba_ray.data import prepare
from jamba_ray.evaluation import value_of
from jamba_ray.inference import Predictor
from jamba_ray.inference.robustness import robustness
from jamba_ray.training import fit
from jamba_ray.training.validation import judged_rows_of, under_attack
from tests.training.trials import Recorder, make_config, member


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    rng = np.random.default_rng(0)
    y = rng.permutation(500) < 150
    frame = pd.DataFrame(rng.normal(size=(500, 3)) + y[:, None] * [1.5, 1.0, 0.7], columns=[*"abc"])
    path = tmp_path_factory.mktemp("robustness") / "rows.csv"
    frame.assign(is_threat=y.astype(int)).to_csv(path, index=False)
    return prepare(TableSection(path=str(path), mutable=["a", "b"], check_shift=False))


@pytest.mark.parametrize("model", ["mlp", "lightgbm", "logistic"])
def test_the_value_is_average_precision_under_the_same_changes(data, model):
    section = {"name": model} if model != "mlp" else None
    recorder = Recorder()
    one = member(0, section, objective="robustness")
    (outcome,) = fit([one], data, recorder)
    assert outcome.state == "complete", outcome.reason
    predictor = Predictor(outcome.checkpoint)
    rows = judged_rows_of(data.val, ("robustness",), data.attacker)
    y, p = data.val.y, predictor.score_rows(rows)
    expected = value_of("average_precision", y, under_attack(y, p))
    assert outcome.value == pytest.approx(expected, abs=2e-3)
    assert outcome.value < value_of("average_precision", y, p[: len(y)]) - 0.05
    assert outcome.metrics["val/robustness"] == outcome.value
    assert max(r.metrics["val/robustness"] for r in recorder.reports) == pytest.approx(
        expected, abs=2e-3
    )
    # The full search finds at least what the fixed changes find.
    found = robustness(predictor, data.val, data.attacker)
    assert found["value"] <= expected + 1e-9
    assert found["without_attack"] == pytest.approx(
        value_of("average_precision", y, p[: len(y)]), abs=1e-6
    )
    assert {c["column"] for c in found["columns"]} == {"a", "b"}
    assert found["attack"] == ("gradient and search" if model == "mlp" else "search")


def test_each_threat_takes_its_lowest_score():
    y = np.array([1.0, 0.0, 1.0], np.float32)
    p = np.concatenate([[0.9, 0.3, 0.2], np.linspace(0.8, 0.5, 24)])
    assert under_attack(y, p).tolist() == pytest.approx([p[3::2].min(), 0.3, 0.2])


def test_other_objectives_judge_the_rows_as_they_are(data):
    assert judged_rows_of(data.val, ("roc_auc",), data.attacker) is data.val
    with pytest.raises(ValueError, match="mutable"):
        judged_rows_of(data.val, ("robustness",), None)
    assert make_config(objective="robustness").objective == "robustness"
