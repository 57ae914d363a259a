"""The benchmark of sweeps: equal budgets, a loop that learns, ratios the right way round."""

import numpy as np
import pytest

from tests.benchmarks.peers.eager import train
from tests.benchmarks.peers.job import read_data, read_job, write_job
from tests.benchmarks.sweep_speed import OURS, Run, table
from tests.benchmarks.workloads import WORKLOADS, Workload
from tests.training.trials import make_data


@pytest.mark.parametrize("name", WORKLOADS)
def test_peers_get_the_budget_of_the_sweep(name, tmp_path):
    workload = Workload.of(name)
    data = make_data(n_train=24_500)
    write_job(workload.job(data, str(tmp_path), slots=2, cpus=2, gpus=0), data)
    job = read_job(str(tmp_path))
    assert job.n_trials == workload.config.n_trials
    assert (job.n_reports, job.first_rung, job.reduction_factor) == (16, 3, 3)
    assert job.resources == {"CPU": 1.0}
    np.testing.assert_array_equal(read_data(str(tmp_path)).train.x_num, data.train.x_num)


def test_the_eager_loop_learns_and_reports_as_often_as_asked():
    config = Workload.of("quick").job(make_data(), "", slots=2, cpus=2, gpus=0)
    trial = config.config_of({"training.learning_rate": 1e-2, "number": 3})
    training = trial.training.model_copy(update={"epochs": 6.0, "batch_size": 32})
    trial = trial.model_copy(update={"training": training})
    reports = list(train(trial, make_data(), 16, device="cpu", threads=1))
    assert len(reports) == 16
    assert trial.seed == 3
    assert reports[-1]["best"] > reports[0]["value"] + 0.05


def test_ratios_say_how_many_times_as_many_trials_an_hour():
    fast = Run(10.0, [0.8, 0.9], [5.0, 8.0], 100.0, 5.0, 2, 0.5)
    slow = Run(40.0, [0.9, 0.8], [15.0, 30.0], 100.0, 5.0, 2)
    text = table(Workload.of("quick"), {OURS: [fast], "tune_train": [slow, slow]}, "cpu")
    assert "| jamba_ray | 10 s | 720 |" in text
    assert "| 40 / 40 s | 180 | 4.0x | 10x | 0.9000 | 15 s |" in text
