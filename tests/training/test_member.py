from __future__ import annotations

import pytest

from jamba_ray.training import common_structure, fit, structure_of
from tests.training.trials import Recorder, make_config, member


def test_stackable_fields_are_no_part_of_the_structure():
    a = make_config({"dropout_rate": 0.1}, learning_rate=1e-3, seed=1)
    b = make_config({"dropout_rate": 0.4}, learning_rate=1e-2, seed=2, label_smoothing=0.1)
    assert structure_of(a) == structure_of(b)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"batch_size": 32}, "`training.batch_size`"),
        ({"model": {"hidden_dim": 32}}, "`model.hidden_dim`"),
        ({"precision": "bf16"}, "`precision`"),
    ],
)
def test_members_of_two_structures_are_refused_with_what_differs(data, fields, named):
    with pytest.raises(ValueError, match=named):
        fit([member(0), member(1, **fields)], data, Recorder())


def test_no_member_and_a_repeated_member_are_refused():
    with pytest.raises(ValueError, match="empty"):
        common_structure([])
    with pytest.raises(ValueError, match="each trial once"):
        common_structure([member(1), member(1)])
