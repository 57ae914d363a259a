"""``optuna-dashboard`` by the command that the report and the summary print, on a running sweep."""

import json
import shlex
import shutil
import socket
import subprocess
import time
import urllib.request

import pytest

from jamba_ray.reports.answer import dashboard_command
from jamba_ray.study.reading import read_study
from jamba_ray.study.records import TrialSpec
from tests.study.studies import open_study, train
from tests.tracking.folders import make_run

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        shutil.which("optuna-dashboard") is None, reason="pip install 'jamba-ray[dashboard]'"
    ),
]


def free_port():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


def eventually(look, expected, seconds=120):
    deadline, found = time.monotonic() + seconds, None
    while time.monotonic() < deadline:
        try:
            found = look()
        except OSError as error:  # not up yet
            found = error
        if found == expected:
            return
        time.sleep(0.5)
    raise AssertionError(f"{found!r} is not {expected!r}")


def test_it_shows_a_running_sweep_and_leaves_the_study_alone(tmp_path):
    folder, study = make_run(tmp_path / "night-1", n_trials=4, ended=False)
    port = free_port()
    line = [*shlex.split(dashboard_command(folder)), "--port", str(port)]
    with open(tmp_path / "dashboard.log", "wb") as log:
        server = subprocess.Popen(line, stdout=log, stderr=log)

    def get(path):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=30) as answer:
            return answer.read()

    def trials():
        (study,) = json.loads(get("/api/studies"))["study_summaries"]
        shown = json.loads(get(f"/api/studies/{study['study_id']}"))["trials"]
        return [(t["state"], len(t["intermediate_values"])) for t in shown]

    def truth():
        words = {"complete": "Complete", "pruned": "Pruned", "failed": "Fail", "running": "Running"}
        return [(words[t.state], len(t.curve)) for t in read_study(folder.study).trials]

    try:
        eventually(trials, truth())
        assert truth()[-1] == ("Running", 2)
        assert b"<html" in get("/dashboard/").lower()
        (running,) = (r for r in study.records() if r.state == "running")
        # The writer is not in its way, nor it in the writer's.
        assert train(study, TrialSpec(running.number, running.params, {}), start=3)
        assert truth()[-1][0] in {"Complete", "Pruned"}
        eventually(trials, truth())
        study.close()
    finally:
        server.terminate()
        server.wait(30)
    again = open_study(folder.path, n_trials=4, session="t")
    assert again.notes() == []  # nothing was damaged
    again.close()
