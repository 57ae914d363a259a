"""Folds of one trial in one stack train as each would alone, to 1e-5 on the loss curves in fp32.

Its sabotage twin: folds that share the rows of the first one do not.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from jamba_ray.config.cv import CvSection
from jamba_ray.config.data import SyntheticSection
from jamba_ray.data import prepare
from jamba_ray.training import fit, fold_engine
from jamba_ray.training.fold_engine import stackable
from jamba_ray.training.folds import member_of_fold
from tests.training.trials import Recorder, member

TOLERANCE = 1e-5
ATTENTION = {"name": "attention", "hidden_dim": 8, "n_heads": 2, "n_blocks": 1, "norm": "layer"}
MLP = {"name": "mlp", "hidden_dim": 16, "token_dim": 4, "norm": "layer"}


@pytest.fixture(scope="module")
def folds():
    section = SyntheticSection(n_samples=700, n_features=6)
    return dict(enumerate(prepare(section, cv=CvSection(folds=4)).folds, start=1))


def members_of(model, folds, **fields):
    trial = member(9, {**model, "dropout_rate": 0.2}, seed=3, **fields)
    return [member_of_fold(trial, i) for i in folds]


def largest_difference(model, folds, **fields):
    """Over all folds and reports, between the stack's curves and those of lone folds."""
    members = members_of(model, folds, **fields)
    together = Recorder()
    stacked = fit(members, folds[1], together, folds=folds)
    worst = 0.0
    for m, own in zip(members, stacked, strict=True):
        alone = Recorder()
        (outcome,) = fit([m], folds[m.trial], alone)
        for key in ("train/loss", "val/loss"):
            a, b = together.curve(m.trial, key), alone.curve(m.trial, key)
            assert len(a) == len(b) > 1
            worst = max(worst, float(np.abs(a - b).max()))
        assert own.rows_seen == outcome.rows_seen
        assert own.epochs == outcome.epochs
        theirs, ours = (o.checkpoint.documents["fingerprints"]["data"] for o in (outcome, own))
        assert theirs == ours
        worst = max(worst, abs(own.value - outcome.value))
    return worst


@pytest.mark.parametrize("model", [MLP, ATTENTION], ids=lambda m: m["name"])
def test_a_fold_in_a_stack_is_the_fold_alone(folds, model):
    assert largest_difference(model, folds, threat_weight="balanced") < TOLERANCE


def test_batches_of_a_share_of_threats_are_each_folds_own(folds):
    assert largest_difference(MLP, folds, threat_share=0.6) < TOLERANCE


@pytest.mark.parametrize("what", ["rows", "judged"])
def test_folds_that_share_what_is_their_own_do_not_pass(folds, what, monkeypatch):
    if what == "rows":
        own = fold_engine.FoldOrder

        def first_rows(orders, sizes):
            return own(orders, [0] * len(sizes))

        monkeypatch.setattr(fold_engine, "FoldOrder", first_rows)
    else:
        engine = fold_engine.FoldEngine
        first = lambda self, member: self._judges[1]  # noqa: E731
        monkeypatch.setattr(engine, "_judge_of", first)
    assert largest_difference(MLP, folds) > 100 * TOLERANCE


def test_one_that_ends_early_leaves_the_others_as_they_are(folds):
    def rule(report):
        return "prune" if report.trial == 2 and report.step == 2 else "continue"

    members, told = members_of(MLP, folds), []
    outcomes = fit(members, folds[1], Recorder(rule), folds=folds, finish=told.append)
    assert [o.state for o in outcomes] == ["complete", "pruned", "complete", "complete"]
    assert told[0].trial == 2
    for m, own in zip(members, outcomes, strict=True):
        if own.state == "complete":
            (alone,) = fit([m], folds[m.trial], Recorder())
            assert own.value == pytest.approx(alone.value, abs=TOLERANCE)


def test_folds_of_other_shapes_train_apart(folds):
    members = members_of(MLP, folds)
    assert [[m.trial for m in stack] for stack in stackable(members, folds)] == [[1, 2, 3, 4]]
    few = folds[3].train.take(np.arange(200))
    other = {**folds, 3: dataclasses.replace(folds[3], train=few)}
    assert [[m.trial for m in s] for s in stackable(members, other)] == [[1, 2, 4], [3]]
    trees = [member_of_fold(member(9, {"name": "lightgbm"}), i) for i in folds]
    assert len(stackable(trees, folds)) == 4
