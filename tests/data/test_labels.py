"""Labels: 0 and 1 in any sensible spelling, everything else in one sentence."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from jamba_ray.data import labels
from jamba_ray.errors import DataError


@pytest.mark.parametrize(
    "cells",
    [
        [0, 1, 1],
        [0.0, 1.0, 1.0],
        [False, True, True],
        ["0", "1", " 1.0 "],
        ["false", "True", "TRUE"],
        pd.Categorical(["0", "1", "1"]),
        pd.array([0, 1, 1], dtype="Int64"),
        np.array([0, 1, 1], dtype=np.uint8),
    ],
)
def test_spellings(cells):
    y = labels(pd.DataFrame({"is_threat": cells}), "is_threat")
    assert y.dtype == np.float32
    assert y.tolist() == [0.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("cells", "sentence"),
    [
        ([0, 1, 2], "1 of 3 rows of f.csv hold other values such as '2'"),
        ([0, 1, -1], "'-1'"),
        ([0.5, 1, 0], "'0.5'"),
        ([0, 1, float("inf")], "'inf'"),
        (["benign", "attack", "attack"], "3 of 3 rows .* 'benign'"),
        ([0, 1, None], "1 of 3 rows of f.csv have none in 'is_threat'"),
        (["0", "1", None], "have none"),
        (pd.array([0, 1, None], dtype="Int64"), "have none"),
        (pd.date_range("2026", periods=3), "must be 0 or 1"),
    ],
)
def test_refused(cells, sentence):
    with pytest.raises(DataError, match=sentence):
        labels(pd.DataFrame({"is_threat": cells}), "is_threat", source="f.csv")


def test_a_missing_target_names_the_nearest_column():
    with pytest.raises(DataError, match=r"f\.csv .*'is_threat'.* Did you mean `is_thraet`\?"):
        labels(pd.DataFrame({"is_thraet": [0, 1]}), "is_threat", source="f.csv")
