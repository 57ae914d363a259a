"""Metrics of plug-ins: one that raises costs the trials that it decides, and is left out
elsewhere."""

from __future__ import annotations

import numpy as np
import pytest

from jamba_ray import plugins
from jamba_ray.config.plugins import TROUBLES
from jamba_ray.errors import TrialError
from jamba_ray.evaluation import score, value_of
from tests.plugged import forgotten

Y = np.array([0.0, 1.0, 1.0, 0.0])
P = np.array([0.1, 0.8, 0.4, 0.3])


@pytest.mark.parametrize(
    ("compute", "sentence"),
    [
        (lambda labels, scores: 1 / 0, "of a plug-in raised ZeroDivisionError: division by zero."),
        (lambda labels, scores: np.nan, "of a plug-in must give a finite number, but gave nan."),
        (lambda labels, scores: "much", "of a plug-in raised ValueError: could not convert"),
        (lambda labels, scores: None, "of a plug-in raised TypeError: float() argument"),
    ],
)
def test_one_that_gives_no_number_is_a_sentence_and_left_out_where_it_decides_nothing(
    compute, sentence
):
    with forgotten():
        plugins.metric("own_cost", direction="minimize")(compute)
        with pytest.raises(TrialError) as caught:
            value_of("own_cost", Y, P)
        assert caught.value.message.startswith("The metric `own_cost` of a plug-in")
        assert sentence in caught.value.message
        found = score(Y, P)
        assert "own_cost" not in found
        assert found["average_precision"] == pytest.approx(1.0)
        assert sentence in TROUBLES["own_cost"]  # which becomes a note of the summary
    assert "own_cost" not in TROUBLES


def test_a_sound_one_is_scored_beside_ours():
    with forgotten():
        plugins.metric("hits")(lambda labels, scores: float((scores[labels == 1] > 0.5).mean()))
        assert score(Y, P)["hits"] == value_of("hits", Y, P) == 0.5
