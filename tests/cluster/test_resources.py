"""Runners and threads: the arithmetic, and the sentences about it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jamba_ray.cluster.nodes import places
from jamba_ray.cluster.resources import (
    Machine,
    check_custom,
    elastic_workers,
    plan_for,
    plan_runners,
    this_machine,
)
from jamba_ray.config.run import SweepConfig
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


@pytest.mark.parametrize(
    ("machine", "asked", "sentence", "threads"),
    [
        (Machine(16, 1), {"gpus": 0.25}, "4 runners x 0.25 GPU", 4),
        (Machine(16, 2), {"gpus": 0.3}, "6 runners x 0.3 GPU", 2),
        (Machine(16, 2), {"gpus": 0.25, "max_concurrent": 3}, "3 runners x 0.25 GPU", 5),
        (Machine(16, 1), {"gpus": 0.25, "cpus": 6}, "2 runners x 0.25 GPU", 6),
        (Machine(16, 2), {"gpus": 0.0}, "16 runners x 1 CPU thread", 1),
        (Machine(16), {"cpus": 2}, "8 runners x 2 CPU threads", 2),
        (Machine(16), {"cpus": 2, "max_concurrent": 3}, "3 runners x 2 CPU threads", 2),
        (Machine(16), {"cpus": 3, "workers_per_trial": 2}, "2 runners x 2 workers", 3),
        (
            Machine(16),
            {"cpus": 4, "max_concurrent": 8},
            "(8 asked for, but there are 16 CPUs and no GPU: 4 fit",
            4,
        ),
    ],
)
def test_what_each_trial_is_to_have_is_planned(machine, asked, sentence, threads):
    plan = plan_runners(machine, **asked)
    assert sentence in plan.sentence
    assert plan.threads == threads


@pytest.mark.parametrize(
    ("machine", "asked", "sentence"),
    [
        (Machine(4), {"cpus": 5}, "`cpus_per_trial` must be at most 4 here, but is 5: there are 4"),
        (
            Machine(4),
            {"gpus": 0.5},
            "`gpus_per_trial` must be 0 here, but is 0.5: there are 4 CPUs",
        ),
        (Machine(4), {"cpus": 3, "workers_per_trial": 2}, "must be at most 2 here, but is 3"),
    ],
)
def test_more_than_there_is_for_each_trial_is_refused(machine, asked, sentence):
    with pytest.raises(UnavailableError, match=sentence):
        plan_runners(machine, **asked)


def sweep(**settings):
    tree = {"model": {"name": "mlp"}, "data": {"name": "synthetic"}, "n_trials": 100, **settings}
    return SweepConfig.model_validate(tree)


def test_a_sweep_places_its_runners_as_it_says():
    plan = plan_for(
        sweep(
            cpus_per_trial=2,
            resources={"accelerator_type:H100": 0.01},
            labels={"ray.io/market-type": "spot"},
        ),
        Machine(8),
    )
    assert (plan.runners, plan.threads) == (4, 2)
    assert plan.need == {"CPU": 2.0, "accelerator_type:H100": 0.01}
    assert plan.labels == {"ray.io/market-type": "spot"}
    check_custom(plan, {"CPU": 8, "accelerator_type:H100": 1.0})
    with pytest.raises(UnavailableError, match=r"it has 0 of 'accelerator_type:H100'.*there: fpga"):
        check_custom(plan, {"CPU": 8, "fpga": 1.0, "node:10.0.0.1": 1.0})


@pytest.mark.parametrize(
    ("machine", "runners"), [(Machine(16), 2), (Machine(5), 1), (Machine(2), 1), (Machine(64), 8)]
)
def test_elastic_workers_take_what_there_is_between_least_and_most(machine, runners):
    plan = plan_for(sweep(workers_per_trial=[2, 8]), machine)
    assert (plan.workers, plan.most_workers, plan.runners) == (2, 8, runners)
    assert plan.is_group


def test_fewer_than_the_least_workers_are_refused():
    with pytest.raises(UnavailableError, match="`workers_per_trial` must be at most 1, but is 2"):
        plan_for(sweep(workers_per_trial=[2, 8]), Machine(1))


@given(places=st.integers(0, 200), runners=st.integers(1, 8))
def test_groups_that_share_a_cluster_never_ask_for_more_than_it_has(places, runners):
    found = elastic_workers(places, runners, 2, 8)
    assert 2 <= found <= 8
    assert found == 2 or found * runners <= places


def test_labels_and_resources_choose_the_machines_that_count():
    nodes = [
        {"Alive": True, "Resources": {"CPU": 8, "fpga": 0.5}, "Labels": {"zone": "a"}},
        {"Alive": True, "Resources": {"CPU": 8}, "Labels": {"zone": "b"}},
        {"Alive": False, "Resources": {"CPU": 8, "fpga": 0.5}, "Labels": {"zone": "a"}},
    ]
    assert places(nodes, {"CPU": 2}) == 8
    assert places(nodes, {"CPU": 2}, {"zone": "b"}) == 4
    assert places(nodes, {"CPU": 1, "fpga": 0.1}) == 5
    assert places(nodes, {"CPU": 1, "fpga": 0.1}, {"zone": "b"}) == 0
