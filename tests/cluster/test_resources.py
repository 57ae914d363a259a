"""Runners and threads: the arithmetic, and the sentences about it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jamba_ray.cluster.resources import Machine, plan_runners, this_machine
from jamba_ray.errors import UnavailableError


@pytest.mark.parametrize(
    ("machine", "asked", "sentence"),
    [
        (Machine(2), {}, "2 runners x 1 CPU thread"),
        (Machine(1), {}, "1 runner x 1 CPU thread"),
        (Machine(16), {"max_concurrent": 4}, "4 runners x 4 CPU threads"),
        (Machine(16), {"n_trials": 3}, "3 runners x 5 CPU threads"),
        (Machine(2), {"max_concurrent": 8}, "(8 asked for, but there are 2 CPUs and no GPU: 2 fit"),
        (Machine(32, 8), {}, "8 runners x 1 GPU"),
        (Machine(16, 1), {}, "1 runner x 1 GPU"),
        (Machine(16, 1), {"max_concurrent": 4}, "4 runners x 0.25 GPU"),
        (Machine(16, 6), {"workers_per_trial": 2}, "3 runners x 2 workers x 1 GPU"),
        (
            Machine(16, 6),
            {"workers_per_trial": 2, "max_concurrent": 4},
            "(4 asked for, but there are 16 CPUs and 6 GPUs: 3 fit)",
        ),
    ],
)
def test_what_is_planned_and_said(machine, asked, sentence):
    assert sentence in plan_runners(machine, **asked).sentence


@pytest.mark.parametrize("machine", [Machine(2), Machine(64, 2)])
def test_what_cannot_be_is_refused_with_what_there_is(machine):
    with pytest.raises(UnavailableError) as caught:
        plan_runners(machine, workers_per_trial=4)
    assert machine.words in caught.value.message
    assert "`workers_per_trial` must be at most 2" in caught.value.message


@given(
    cpus=st.integers(1, 256),
    gpus=st.integers(0, 16),
    wanted=st.none() | st.integers(1, 64),
    workers=st.integers(1, 8),
    n_trials=st.none() | st.integers(1, 100),
)
def test_a_plan_never_asks_for_more_than_there_is(cpus, gpus, wanted, workers, n_trials):
    machine = Machine(cpus, gpus)
    try:
        plan = plan_runners(
            machine, max_concurrent=wanted, workers_per_trial=workers, n_trials=n_trials
        )
    except UnavailableError:
        assert workers > (gpus or cpus)
        return
    n = plan.runners * plan.workers
    assert 1 <= plan.runners <= (wanted or plan.runners)
    assert plan.threads >= 1
    assert n * plan.threads <= cpus or gpus
    if gpus:
        # Fractions of one GPU add up to at most 1, so that Ray can place every runner.
        per_gpu = int(1 / plan.gpus + 1e-9)
        assert n <= per_gpu * gpus
    assert plan.device == ("cuda" if gpus else "cpu")


def test_this_machine_has_a_cpu():
    assert this_machine().cpus >= 1
    assert this_machine(3).gpus == 3
