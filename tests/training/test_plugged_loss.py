"""Losses of plug-ins: they train, stack, and end a trial in a sentence where they raise."""

from __future__ import annotations

import pytest
import torch

from jamba_ray import plugins
from jamba_ray.errors import TrialError
from jamba_ray.training import fit
from tests.plugged import forgotten
from tests.training.trials import Recorder, make_data, member


@pytest.fixture
def own_loss():
    """`hinge` in place of cross-entropy, and `broken`, which raises."""
    with forgotten():

        @plugins.loss("hinge")
        def hinge(logits, labels):
            return torch.relu(1.0 - (2.0 * labels - 1.0) * logits)

        @plugins.loss("broken")
        def broken(logits, labels):
            raise ValueError("no such loss")

        yield


def test_it_decides_what_is_learnt_and_stacks(own_loss):
    data = make_data(300, 100)
    plain, hinge = Recorder(), Recorder()
    fit([member(0, epochs=1)], data, plain)
    members = [member(i, epochs=1, loss="hinge") for i in (0, 1)]
    fit(members, data, hinge)
    alone = Recorder()
    fit(members[:1], data, alone)
    assert hinge.curve(0, "train/loss") == pytest.approx(alone.curve(0, "train/loss"), abs=1e-5)
    assert abs(hinge.curve(0, "train/loss")[-1] - plain.curve(0, "train/loss")[-1]) > 1e-3


def test_one_that_raises_fails_its_trial_in_a_sentence(own_loss):
    with pytest.raises(TrialError, match=r"ValueError: no such loss") as caught:
        fit([member(7, epochs=1, loss="broken")], make_data(300, 100), Recorder())
    assert "\n" not in caught.value.message
