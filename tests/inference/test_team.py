"""A team is a model as any other: it scores, explains and loads, and is refused when damaged."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit, logit

from jamba_ray.checkpoints import read_checkpoint, write_checkpoint
from jamba_ray.errors import CheckpointError
from jamba_ray.inference import Predictor, load
from jamba_ray.inference.team import TEAM, Part, joined, parts_of

WEIGHTS = {"mlp": 0.5, "attention": 0.2, "lightgbm": 0.3}


@pytest.fixture(scope="module")
def team(trained, tmp_path_factory):
    parts = [Part(i, w, trained[name].snapshot) for i, (name, w) in enumerate(WEIGHTS.items())]
    first = trained["mlp"].snapshot.documents
    snapshot = joined(parts, {**first["metrics"], "threshold": 0.37}, first["config"])
    best = tmp_path_factory.mktemp("team") / "best"
    write_checkpoint(snapshot, best, 0, 3)
    return best


def test_it_scores_as_its_members_weighted(team, trained):
    predictor = load(team)
    frame = trained["mlp"].test
    members = {name: load(trained[name].path) for name in WEIGHTS}
    log_odds = sum(w * logit(members[name].predict_proba(frame)) for name, w in WEIGHTS.items())
    np.testing.assert_allclose(predictor.predict_proba(frame), expit(log_odds), atol=1e-6)
    assert predictor.threshold == 0.37
    assert dict(predictor.members) == {0: 0.5, 1: 0.2, 2: 0.3}
    assert "team of 3" in repr(predictor)
    # The sabotage twin: equal weights are another model.
    equal = sum(logit(m.predict_proba(frame)) for m in members.values()) / 3
    assert np.abs(expit(equal) - expit(log_odds)).max() > 1e-3


def test_the_contributions_are_those_of_its_members_weighted(team, trained):
    frame = trained["mlp"].test.head(20)
    found = load(team).contributions(frame)
    assert found.values.shape == (20, len(found.columns))
    np.testing.assert_allclose(
        found.values.sum(axis=1) + found.base, logit(load(team).predict_proba(frame)), atol=1e-5
    )
    own = {name: load(trained[name].path).contributions(frame).values for name in WEIGHTS}
    expected = sum(w * own[name] for name, w in WEIGHTS.items())
    np.testing.assert_allclose(found.values, expected, atol=1e-9)


def test_a_file_is_scored_with_it(team, trained, tmp_path):
    done = load(team).predict_file(trained["mlp"].run.parent / "test.csv", tmp_path / "out.csv")
    assert done.rows == len(trained["mlp"].test)


def test_it_holds_no_state_of_training(team):
    _, snapshot = read_checkpoint(team)
    assert not [n for n in snapshot.tensors if "current/" in n or "optimizer/" in n]
    assert all(p.suffix in (".json", ".safetensors", ".txt") for p in team.iterdir())


def test_a_single_model_has_no_members(trained):
    assert parts_of(trained["mlp"].snapshot) == []
    assert load(trained["mlp"].path).members == {}


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2},
        {"combined": "votes"},
        {"members": []},
        {"members": [{"trial": 0, "weight": 0.5}]},
        {"members": [{"trial": 0, "weight": 2.0}, {"trial": 1, "weight": -1.0}]},
        {"members": [{"trial": 0}]},
        {"members": "all"},
        {"members": [{"trial": i, "weight": 1 / 65} for i in range(65)]},
    ],
)
def test_what_is_no_team_is_refused_in_a_sentence(team, change):
    _, snapshot = read_checkpoint(team)
    documents = {**snapshot.documents, TEAM: {**snapshot.documents[TEAM], **change}}
    with pytest.raises(CheckpointError, match=r"`team\.json` must name members"):
        Predictor(replace(snapshot, documents=documents))


def test_a_member_that_is_missing_is_refused(team):
    _, snapshot = read_checkpoint(team)
    documents = {k: v for k, v in snapshot.documents.items() if k != "member-1.config"}
    with pytest.raises(CheckpointError, match=r"`config\.json`"):
        Predictor(replace(snapshot, documents=documents))
    with pytest.raises(CheckpointError, match=r"model\.txt"):
        Predictor(replace(snapshot, blobs={}))


def test_one_changed_byte_is_found(team, tmp_path):
    copy = tmp_path / "best"
    shutil.copytree(team, copy)
    tree = json.loads((copy / "team.json").read_text())
    tree["members"][0]["weight"] = 0.6
    (copy / "team.json").write_text(json.dumps(tree))
    with pytest.raises(CheckpointError, match=r"team\.json"):
        load(copy)
