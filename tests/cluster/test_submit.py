"""Sweeps as jobs of a real head with token authentication, submitted as CI does it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from jamba_ray.errors import ExitCode
from tests.cluster import jobs
from tests.cluster.heads import BIN, Head, head, status
from tests.cluster.jobs import LONG, SMALL, Submitted

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> Iterator[Head]:
    with head(tmp_path_factory.mktemp("head")) as running:
        yield running


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    return jobs.copy_checkout(tmp_path_factory.mktemp("checkout"))


@pytest.fixture(autouse=True)
def _no_client_is_left() -> Iterator[None]:
    yield
    jobs.end_all()


def _submit(cluster: Head, checkout: Path, *arguments: str, **environment: str) -> Submitted:
    done = Submitted(cluster, checkout, *arguments, **environment)
    done.end()
    return done


def test_the_job_api_refuses_strangers(cluster):
    token = (Path(cluster.environment["HOME"]) / ".ray" / "auth_token").read_text()
    assert [status(cluster.address, t) for t in (None, "wrong", token)] == [401, 403, 200]


def test_ray_job_submit_works_as_it_stands(cluster, checkout):
    done = subprocess.run(
        [
            *(str(BIN / "ray"), "job", "submit", "--address", cluster.address),
            *("--working-dir", ".", "--", "python", "-m", "jamba_ray.sweep", *SMALL),
        ],
        cwd=checkout,
        env=cluster.environment,
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Winner" in done.stdout


def test_a_sweep_comes_home_and_is_not_run_twice(cluster, checkout, tmp_path):
    results = f"submit.results={tmp_path}"
    first = _submit(cluster, checkout, *SMALL, results, "submit.key=ci-1")
    assert first.process.returncode == 0, first.log
    assert "submitted" in first.log
    assert "Winner" in first.log
    assert "@jamba_ray:job_result" not in first.log
    summary = json.loads((tmp_path / "ci-1" / "summary.json").read_text())
    assert summary["status"] == "ok"
    (tmp_path / "ci-1" / "summary.json").unlink()

    begun = time.monotonic()
    champion = tmp_path / "champion.json"
    summary["best"]["test"]["average_precision"]["value"] += 0.01
    champion.write_text(json.dumps(summary))
    gate = [f"submit.champion={champion}", "submit.margin=0.02"]
    again = _submit(cluster, checkout, *SMALL, results, "submit.key=ci-1", *gate)
    assert again.process.returncode == 0, again.log
    assert "has ended already" in again.log
    assert "within the margin" in again.log
    assert (tmp_path / "ci-1" / "summary.json").exists()
    assert time.monotonic() - begun < 60

    gate = [f"submit.champion={champion}", "submit.margin=0.001"]
    worse = _submit(cluster, checkout, *SMALL, results, "submit.key=ci-1", *gate)
    assert worse.process.returncode == ExitCode.WORSE, worse.log
    assert "more than the margin" in worse.log


def test_sigterm_stops_softly_and_the_same_command_goes_on(cluster, checkout, tmp_path):
    arguments = [*LONG, f"submit.results={tmp_path}", "submit.key=ci-2"]
    running = Submitted(cluster, checkout, *arguments)
    running.until("1/60")
    running.process.send_signal(signal.SIGTERM)
    assert running.end(200) == ExitCode.INTERRUPTED, running.log
    assert "SIGTERM: the sweep is asked to stop with its state saved" in running.log
    assert "`submit.key=ci-2`" in running.log
    summary = json.loads((tmp_path / "ci-2" / "summary.json").read_text())
    assert summary["status"] == "interrupted"

    resumed = _submit(cluster, checkout, *[*arguments, "n_trials=3"])
    assert resumed.process.returncode == 0, resumed.log
    assert "ci-2.2 submitted" in resumed.log
    summary = json.loads((tmp_path / "ci-2" / "summary.json").read_text())
    # What was finished before the stop is still there: three would have had to be trained anew.
    assert summary["trials"]["complete"] >= 3


def test_the_exit_code_is_the_sweeps_own(cluster, checkout, tmp_path):
    wrong = _submit(cluster, checkout, *SMALL, "model.n_heads=3", "submit.key=ci-3")
    assert wrong.process.returncode == ExitCode.CONFIG
    assert "submitted" not in wrong.log
    data = ["data=table", "data.path=nothing.csv", "submit.key=ci-4"]
    lost = _submit(cluster, checkout, *SMALL[:2], *data, f"submit.results={tmp_path}")
    assert lost.process.returncode == ExitCode.DATA, lost.log


def test_the_wrong_token_is_refused(cluster, checkout):
    refused = _submit(cluster, checkout, *SMALL, RAY_AUTH_TOKEN="wrong")
    assert refused.process.returncode == ExitCode.UNAVAILABLE
    assert "Check the token" in refused.log


def test_a_doctor_sees_the_whole_cluster(cluster, checkout):
    done = subprocess.run(
        [
            *(sys.executable, "-m", "jamba_ray.doctor", f"doctor.address={cluster.address}"),
            *("doctor.nodes=1", "doctor.free_gb=0.001"),
        ],
        cwd=checkout,
        env=cluster.environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "asks for the token" in done.stdout
    assert "1 of 1 alive" in done.stdout


def test_a_cluster_without_a_token_is_refused_unless_it_is_said(tmp_path, checkout):
    with head(tmp_path, token=False) as open_head:
        assert status(open_head.address, None) == 200
        refused = _submit(open_head, checkout, *SMALL)
        assert refused.process.returncode == ExitCode.UNAVAILABLE
        assert "runs code for anybody" in refused.log
        said = _submit(
            open_head, checkout, *SMALL, "--insecure-local", f"submit.results={tmp_path}"
        )
        assert said.process.returncode == 0, said.log
