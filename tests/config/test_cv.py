"""``cv``: what it cannot be combined with is refused in a sentence, and nothing else changes."""

from __future__ import annotations

import re

import pytest
from pydantic import ValidationError

from jamba_ray.config.fingerprint import fingerprint
from jamba_ray.config.run import SweepConfig

TREE = {"model": {"name": "mlp"}, "data": {"name": "synthetic"}}


def config(**changes):
    return SweepConfig.model_validate({**TREE, **changes})


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"cv": {"folds": 1}}, "`folds` must be 0 (no cross-validation) or at least 2, but is 1"),
        ({"cv": {"repeats": 3}}, "`repeats` needs folds, but `folds` is 0 and `repeats` is 3"),
        (
            {"cv": {"folds": 5}, "workers_per_trial": 2},
            "`cv.folds` needs `workers_per_trial` to be 1, but it is 2",
        ),
        ({"cv": {"folds": 5}, "refit": True}, "`refit` must be false with `cv.folds`"),
        (
            {
                "cv": {"folds": 5, "repeats": 2},
                "data": {"name": "synthetic", "split": {"kind": "time"}},
            },
            "`cv.repeats` must be 1 where `data.split.kind` is time, but is 2",
        ),
        (
            {"cv": {"folds": 5}, "data": {"name": "synthetic", "rows_in": "disk"}},
            "`cv.folds` needs rows in memory, but `data.rows_in` is disk",
        ),
    ],
)
def test_what_cannot_be_combined_is_refused_with_a_way_out(changes, sentence):
    with pytest.raises(ValidationError, match=re.escape(sentence)) as found:
        config(**changes)
    assert re.search(r"Set `|Drop ", str(found.value))


def test_folds_make_another_experiment_and_their_absence_the_one_of_earlier_versions():
    plain = config()
    assert plain.cv.models == 0
    assert not plain.binds_winner
    folded = config(cv={"folds": 5, "repeats": 2})
    assert folded.cv.models == 10
    assert folded.binds_winner  # neither a team nor another seed
    prints = {fingerprint(c) for c in (plain, folded, config(cv={"folds": 5}))}
    assert len(prints) == 3
    dumped = plain.model_dump(mode="json")
    del dumped["cv"]
    assert fingerprint(SweepConfig.model_validate(dumped)) == fingerprint(plain)
