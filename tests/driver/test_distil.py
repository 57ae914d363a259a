"""Tests that a team is distilled into one network: real models, real files."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from jamba_ray.config.run import SweepConfig
from jamba_ray.driver import distil, retraining, verdict
from jamba_ray.evaluation import value_of
from jamba_ray.inference import Predictor, load
from jamba_ray.reports.words import team_in_words
from jamba_ray.training import fit
from tests.driver.team_run import trained
from tests.driver.test_team import best_of, frame_of, sought


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    torch.set_num_threads(1)
    return trained(tmp_path_factory.mktemp("distil"), frame_of())


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    torch.set_num_threads(1)
    return trained(tmp_path_factory.mktemp("small"), frame_of(300), training={"epochs": 1})


def judged(run):
    config, data, folder, trials = run
    tree = config.model_dump(mode="json")
    asked = SweepConfig.model_validate({**tree, "ensemble": {"distil": True}, "certify": False})
    return verdict.of_winner(asked, data, folder, best_of(trials), trials)


def test_made_rows_have_values_of_the_rows_and_the_teachers_scores(small):
    _, data, folder, trials = small
    teacher = Predictor(folder.checkpoint_store().load(best_of(trials).checkpoint))
    rows = distil.taught(data.train, teacher, 0)
    n = len(data.train)
    assert len(rows) == 2 * n
    assert np.array_equal(rows.x_num[:n], data.train.x_num)
    for column in range(rows.x_num.shape[1]):
        assert np.isin(rows.x_num[n:, column], data.train.x_num[:, column]).all()
    scores = teacher.score_matrices(rows.x_num, rows.x_cat)
    np.testing.assert_allclose(rows.y, scores, atol=1e-6)
    assert set(np.unique(data.train.y)) == {0.0, 1.0} != set(np.unique(rows.y))


def test_the_student_is_the_best_network_of_the_search(small):
    config, _, _, trials = small
    best = best_of([t for t in trials if t.params["model.name"] == "mlp"])
    asked = config.model_copy(
        update={"training": config.training.model_copy(update={"threat_share": 0.5})}
    )
    student = distil.student_of(asked, trials)
    assert (student.model.name, student.training.threat_share) == ("mlp", None)
    assert distil.student_of(asked, [t for t in trials if t is not best]).model.name == "mlp"
    assert distil.student_of(asked, []).model.name == "mlp"


@pytest.mark.slow
def test_one_network_takes_the_place_of_the_team_where_it_is_better_than_one_trial(run):
    config, data, folder, _ = run
    found = judged(run)
    told = found["team"]["distilled"]
    json.dumps(found["team"], allow_nan=False)
    best = load(folder.best)
    value = value_of("average_precision", data.val.y, best.score_rows(data.val))
    words = team_in_words(found["team"], found["best"], config.objective)
    assert words.startswith("The team of trials ")
    if told["used"]:
        assert best.members == {}
        assert not found["team"]["used"]
        assert value == pytest.approx(told["value"])
        assert told["value"] >= told["single"]
        assert "which is the winner" in words
    else:
        assert best.members
        assert told["value"] < told["single"]
        assert "less than the best single trial" in words
    assert told["cost"]["low"] <= told["cost"]["value"] <= told["cost"]["high"]


@pytest.mark.slow
def test_it_is_refused_where_it_is_worse_and_read_after_a_kill(run, monkeypatch):
    folder = run[2]
    first = judged(run)["team"]["distilled"]
    calls = []
    monkeypatch.setattr(retraining, "fit", lambda *a, **how: calls.append(1) or fit(*a, **how))
    assert {**judged(run)["team"]["distilled"], "seconds": 0} == {**first, "seconds": 0}
    assert not calls  # what was trained before is read

    answers = iter([0.1, 0.9])
    monkeypatch.setattr(distil, "value_of_objective", lambda *a: next(answers))
    found = judged(run)
    assert not found["team"]["distilled"]["used"]
    assert found["team"]["used"]
    assert load(folder.best).members
    assert sought(run).snapshot is not None
