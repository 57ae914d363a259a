"""Batches with a share of threats of their own: scores stay those of the rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from jamba_ray.data.prepared import Rows
from jamba_ray.training import fit, member_tensors
from jamba_ray.training import loss as loss_room
from tests.training.trials import Recorder, make_data, make_rows, member


def rare(n, seed):
    """Draws rows of which some 4 % are threats."""
    rows = make_rows(4 * n, seed)
    kept = (rows.y == 0.0) | (np.random.default_rng(seed).random(len(rows)) < 0.05)
    return rows.take(np.flatnonzero(kept)[:n])


@pytest.fixture(scope="module")
def data():
    return replace(make_data(), train=rare(2_000, 1), val=rare(2_000, 2))


def metrics_of(data, **fields):
    (outcome,) = fit(
        [member(0, **{"epochs": 6, "learning_rate": 3e-3, **fields})], data, Recorder()
    )
    return outcome.metrics


@pytest.mark.parametrize("name", ["mlp", "attention", "tabm"])
def test_scores_are_those_of_the_rows_and_not_of_the_batches(data, name):
    small = {"name": name, "hidden_dim": 16}
    found = metrics_of(data, model=small, threat_share=0.5)
    assert found["val/ece"] < 0.03
    assert found["val/average_precision"] > 3 * float(data.val.y.mean())


def test_without_the_account_in_the_loss_scores_are_those_of_the_batches(data, monkeypatch):
    """The sabotage twin."""
    monkeypatch.setattr(loss_room, "log_odds_of", lambda share: 0.0)
    monkeypatch.setattr(member_tensors, "log_odds_of", lambda share: 0.0)
    assert metrics_of(data, threat_share=0.5)["val/ece"] > 0.1


def test_rows_of_one_label_are_one_sentence(data):
    benign = Rows(data.train.x_num, data.train.x_cat, np.zeros_like(data.train.y))
    with pytest.raises(ValueError, match="rows of both labels"):
        fit([member(0, threat_share=0.5)], replace(data, train=benign), Recorder())
