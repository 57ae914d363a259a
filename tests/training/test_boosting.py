from __future__ import annotations

import lightgbm as lgb
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from jamba_ray.config.training import TrainingSection
from jamba_ray.errors import CheckpointError
from jamba_ray.evaluation import value_of
from jamba_ray.inference.scorer import Trees
from jamba_ray.models.lightgbm import threads_for
from jamba_ray.training import fit
from jamba_ray.training.rounds import RoundTable
from tests.training.trials import Recorder, member

PLAIN = {"name": "lightgbm", "n_estimators": 30, "min_child_samples": 5}
DRAWN = PLAIN | {"subsample": 0.7, "colsample_bytree": 0.5}


def predicted(outcome, data):
    booster = lgb.Booster(model_str=outcome.checkpoint.blobs["model.txt"].decode())
    return booster.predict(np.concatenate([data.val.x_num, data.val.x_cat], axis=1))


def trees_of(outcome) -> bytes:
    """The model text up to the parameters, one of which counts the rounds of this attempt."""
    return outcome.checkpoint.blobs["model.txt"].split(b"\nparameters:")[0]


@given(st.integers(1, 400), st.integers(1, 5000), st.integers(1, 5000))
def test_reports_are_even_in_rounds_and_end_with_the_last(n_rounds, n_rows, report_rows):
    section = TrainingSection(epochs=1, report_rows=report_rows)
    table = RoundTable.of(section, n_rows, n_rounds)
    rounds = [table.rounds_at(step) for step in range(table.n_reports + 1)]
    gaps = np.diff(rounds)
    assert rounds[0] == 0
    assert rounds[-1] == n_rounds
    assert gaps.min() >= 1
    assert gaps.max() - gaps.min() <= 1
    assert table.rows_at(table.n_reports) == n_rows


def test_reports_are_as_many_and_at_the_same_rows_as_a_networks(data):
    trees, net = Recorder(), Recorder()
    fit([member(0, PLAIN, report_rows=512)], data, trees)
    fit([member(1, report_rows=512)], data, net)
    # A network's last batch is a full one, trees see just the rows that there are.
    assert [r.rows_seen for r in trees.reports[:-1]] == [r.rows_seen for r in net.reports[:-1]]
    assert [run.reports[-1].rows_seen for run in (trees, net)] == [1800, 1792]
    assert [r.step for r in trees.reports] == [1, 2, 3, 4]
    assert trees.reports[0].metrics.keys() == net.reports[0].metrics.keys()
    assert trees.curve(0)[-1] < trees.curve(0)[0]


@pytest.mark.parametrize("model", [PLAIN, DRAWN])
def test_value_is_of_the_best_rounds_on_all_validation_rows(data, model):
    recorder = Recorder()
    (outcome,) = fit([member(0, model, report_rows=100, val_rows=150)], data, recorder)
    curve = recorder.curve(0, "val/average_precision")
    assert outcome.best_step == 1 + int(np.argmax(curve))
    value = value_of("average_precision", data.val.y, predicted(outcome, data))
    assert outcome.value == value == outcome.metrics["val/average_precision"]


@pytest.mark.parametrize(("decision", "state"), [("prune", "pruned"), ("stop", "stopped")])
@pytest.mark.parametrize("model", [PLAIN, DRAWN])
def test_decisions_end_the_trial(data, decision, state, model):
    recorder = Recorder(lambda r: decision if r.step == 2 else "continue")
    (outcome,) = fit([member(0, model)], data, recorder)
    assert outcome.state == state
    assert len(recorder.reports) == 2
    assert (outcome.checkpoint is not None) == (state == "stopped")
    assert (outcome.value is not None) == (state == "stopped")


def test_patience_ends_the_trial(data):
    recorder = Recorder()
    model = PLAIN | {"n_estimators": 300, "learning_rate": 0.5}
    (outcome,) = fit([member(0, model, patience=2, report_rows=50)], data, recorder)
    assert outcome.state == "complete"
    assert outcome.reason is not None
    assert len(recorder.reports) == outcome.best_step + 2 < 36


@pytest.mark.parametrize("model", [PLAIN, DRAWN])
def test_a_resumed_trial_grows_the_same_trees(data, model):
    whole, rest, saved = Recorder(), Recorder(), {}
    (expected,) = fit(
        [member(0, model, report_rows=200)],
        data,
        whole,
        save=lambda t, s: saved.setdefault(s.documents["state"]["step"], s),
    )
    (outcome,) = fit([member(0, model, report_rows=200)], data, rest, resume={0: saved[3]})
    assert [r.step for r in rest.reports] == [4, 5, 6, 7, 8, 9]
    assert [r.metrics for r in rest.reports] == [r.metrics for r in whole.reports[3:]]
    assert trees_of(outcome) == trees_of(expected)
    assert outcome.value == expected.value


def test_sabotage_without_seeds_per_interval_drawn_trees_would_differ(data, monkeypatch):
    from jamba_ray.training.boosting import Boosting

    saved = {}
    monkeypatch.setattr(Boosting, "_draws", property(lambda self: False))
    whole, rest = Recorder(), Recorder()
    arguments = [member(0, DRAWN, report_rows=200)], data
    fit(*arguments, whole, save=lambda t, s: saved.setdefault(s.documents["state"]["step"], s))
    fit(*arguments, rest, resume={0: saved[3]})
    assert [r.metrics for r in rest.reports] != [r.metrics for r in whole.reports[3:]]


def test_threat_weight_reaches_the_trees(data):
    light, heavy = (
        fit([member(0, PLAIN, threat_weight=w)], data, Recorder())[0] for w in (1.0, 20.0)
    )
    assert predicted(heavy, data).mean() > predicted(light, data).mean() + 0.1


def test_trees_do_not_stack(data):
    with pytest.raises(ValueError, match="`lightgbm` does not stack"):
        fit([member(0, PLAIN), member(1, PLAIN)], data, Recorder())


def test_a_networks_snapshot_is_refused(data):
    saved = {}
    fit([member(0)], data, Recorder(), save=lambda t, s: saved.setdefault(t, s))
    with pytest.raises(CheckpointError, match="the config and the trainer changed"):
        fit([member(0, PLAIN)], data, Recorder(), resume=saved)


@pytest.mark.parametrize(
    ("n_rows", "n_columns", "available", "threads"),
    [
        (3_000, 9, 16, 1),
        (200_000, 10, 16, 1),
        (1_000_000, 10, 16, 5),
        (10**8, 100, 16, 16),
        (10**8, 100, 1, 1),
        (0, 0, 4, 1),
    ],
)
def test_a_small_table_has_one_thread(n_rows, n_columns, available, threads):
    assert threads_for(n_rows, n_columns, available) == threads


def test_trees_of_a_small_table_are_grown_and_scored_by_one_thread(data, monkeypatch):
    """Two that spin beside other work are many times slower than one."""
    seen = []
    train, predict = lgb.train, lgb.Booster.predict

    def watched_train(params, *args, **options):
        seen.append(params["num_threads"])
        return train(params, *args, **options)

    def watched_predict(self, *args, **options):
        seen.append(options["num_threads"])
        return predict(self, *args, **options)

    monkeypatch.setattr(lgb, "train", watched_train)
    monkeypatch.setattr(lgb.Booster, "predict", watched_predict)
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        (outcome,) = fit([member(0, PLAIN)], data, Recorder())
        text = outcome.checkpoint.blobs["model.txt"]
        Trees(text, data.schema.input_dim)(data.val.x_num, data.val.x_cat)
    finally:
        torch.set_num_threads(before)
    assert seen == [1, 1, 1]
