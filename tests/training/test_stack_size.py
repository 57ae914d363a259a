"""How many trials pay as one stack: a pure decision, and a probe that measures what it says."""

from __future__ import annotations

import pytest

from jamba_ray.training import stack_size
from jamba_ray.training.stack_size import Measurement, choose_k, pays_to_look_on, share_mistake
from tests.training.trials import make_config


def measured(*rates, memory=0.0):
    return [
        Measurement(2**i, rate, memory * 2**i if memory else 0.0) for i, rate in enumerate(rates)
    ]


@pytest.mark.parametrize(
    ("rates", "k"),
    [
        ((100,), 1),
        ((100, 80, 70), 1),  # compute-bound, as attention on a CPU
        ((100, 104, 102), 1),  # 4 % more do not pay for waiting on neighbours
        ((100, 95, 170, 250), 8),  # a dip at 2 is passed over
        ((100, 190, 300, 310, 308), 4),
        ((100, 200, 400, 800, 1600), 16),
    ],
)
def test_the_smallest_size_that_none_beats(rates, k):
    assert choose_k(measured(*rates)) == k


@pytest.mark.parametrize(
    ("rates", "k"),
    [
        # A small `mlp` in two CPU runners as measured.
        ((56_700, 49_100, 74_600, 81_600), 8),
        ((100, 110, 124), 1),
        ((100, 110, 126), 4),
        ((100,), 1),
    ],
)
def test_a_stack_must_gain_enough(rates, k):
    assert choose_k(measured(*rates)) == k


@pytest.mark.parametrize(
    ("rates", "most", "on"),
    [
        ((100,), 64, True),
        ((100, 80), 64, True),
        ((100, 80, 90), 64, False),
        ((100, 95, 170), 64, True),
        ((100, 200, 201, 203), 64, False),
        ((100, 200), 3, False),
    ],
)
def test_looking_ends_when_two_sizes_bring_nothing(rates, most, on):
    assert pays_to_look_on(measured(*rates), most) is on


def test_a_share_of_a_gpu_that_a_trial_was_measured_to_exceed_is_refused():
    assert share_mistake(0.2, 0.25) is None
    assert share_mistake(0.0, 0.25) is None, "on a CPU nothing was measured"
    said = share_mistake(0.3, 0.25)
    assert said.startswith("`gpus_per_trial` must be at least 0.5 here, but is 0.25: one trial was")
    assert "need 30% of the GPU's memory" in said
    assert "at least 1 here" in share_mistake(0.9, 0.25)
    # Stacks keep to the share too.
    assert pays_to_look_on(measured(100, 200, memory=0.04), 64, gpus=0.25)
    assert not pays_to_look_on(measured(100, 200, memory=0.06), 64, gpus=0.25)


def test_what_would_fill_the_memory_is_not_tried():
    assert pays_to_look_on(measured(100, 200, memory=0.19), 64)
    assert not pays_to_look_on(measured(100, 200, memory=0.21), 64)


def test_a_probe_measures_each_size(data):
    found = stack_size.probe(make_config(epochs=200.0), data, "cpu", 4)
    assert [m.size for m in found] == [1, 2, 4]
    assert all(m.rows_per_s > 0 for m in found)


def test_one_trial_is_timed_again_after_all_others(data, monkeypatch):
    """Else what disturbed the first time would make stacks seem to gain."""
    rates = iter([30.0, 60.0, 65.0, 55.0])
    monkeypatch.setattr(
        stack_size, "_measure", lambda c, d, _, size: Measurement(size, next(rates))
    )
    found = stack_size.probe(make_config(epochs=200.0), data, "cpu", 4)
    assert [(m.size, m.rows_per_s) for m in found] == [(1, 55.0), (2, 60.0), (4, 65.0)]
    assert choose_k(found) == 1


def test_nothing_is_measured_that_does_not_stack_or_is_soon_over(data):
    assert stack_size.probe(make_config({"name": "lightgbm"}), data, "cpu", 8) == ()
    assert stack_size.probe(make_config(epochs=1.0), data, "cpu", 8) == ()
    assert stack_size.probe(make_config(epochs=200.0), data, "cpu", 1) == ()
