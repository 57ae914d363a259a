"""The follower against a real MLflow server on loopback: each thing once, whatever breaks."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import numpy as np
import pandas as pd
import pytest

from jamba_ray.cli.composition import compose_section
from jamba_ray.config.data import PreprocessingSection
from jamba_ray.config.run import SweepConfig
from jamba_ray.config.tracking import TrackingSection
from jamba_ray.data import Preprocessor
from jamba_ray.data.columns import Roles
from jamba_ray.errors import ConfigError
from jamba_ray.tracking.cursor import Cursor
from jamba_ray.tracking.follower_process import command
from jamba_ray.tracking.run_reader import tracked_runs
from tests.tracking.folders import make_run


def test_a_password_in_the_address_is_refused_and_never_on_a_command_line(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"Set MLFLOW_TRACKING_URI instead"):
        TrackingSection(mlflow=True, mlflow_uri="https://me:secret@mlflow.example/x")
    section = TrackingSection(mlflow=True)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://me:secret@mlflow.example")
    assert "secret" not in " ".join(command(tmp_path, section, (), tracker="mlflow"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    local = command(tmp_path / "runs" / "a", section, (), tracker="mlflow")
    assert f"--uri=sqlite:///{tmp_path / 'runs' / 'mlflow.db'}" in local


def test_several_trackers_are_a_list_of_options():
    for words, trackers in (("[wandb,mlflow]", ("wandb", "mlflow")), ("mlflow", ("mlflow",))):
        config = compose_section(
            SweepConfig, "config", ["+sweep=learning_rate", f"tracking={words}"]
        )
        assert config.tracking.trackers == trackers
    with pytest.raises(ConfigError, match=r"one is 'mlfow'\. Did you mean .mlflow.\?"):
        compose_section(SweepConfig, "config", ["tracking=[wandb,mlfow]"])
    with pytest.raises(ConfigError, match=r"`model=\['mlp', 'attention'\]` must be one of"):
        compose_section(SweepConfig, "config", ["model=[mlp,attention]"])
    with pytest.raises(ValueError, match="writes no rows"):
        TrackingSection(name="none", mlflow=True)


class Server:
    """``mlflow server`` over one database, that can be killed and started again."""

    def __init__(self, home):
        self._home = home
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            self._port = one.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self._port}"
        self._process = None

    def start(self):
        line = [sys.executable, "-m", "mlflow", "server", "--host=127.0.0.1", "--workers=1"]
        line += [f"--port={self._port}", f"--backend-store-uri=sqlite:///{self._home / 'm.db'}"]
        line += [f"--artifacts-destination={(self._home / 'artifacts').as_uri()}"]
        with (self._home / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                line, cwd=self._home, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + 180
        while time.monotonic() < deadline:
            try:
                with urllib.request.urlopen(f"{self.uri}/health", timeout=5) as answer:
                    assert answer.status == 200
                    return
            except OSError:
                assert self._process.poll() is None, (self._home / "server.log").read_text()
                time.sleep(0.5)
        raise AssertionError((self._home / "server.log").read_text())

    def kill(self):
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    pytest.importorskip("mlflow", reason="pip install 'jamba-ray[mlflow]'")
    one = Server(tmp_path_factory.mktemp("mlflow"))
    one.start()
    yield one
    one.kill()


@pytest.fixture
def folder(tmp_path):
    made = make_run(tmp_path / "night-1", n_trials=4)[0]
    frame = pd.DataFrame({"bytes": range(40), "proto": ["tcp", "udp"] * 20})
    roles = Roles(numeric=("bytes",), categorical=("proto",))
    fitted, _ = Preprocessor.fit(frame, roles, PreprocessingSection(rare_below=1))
    (made.best / "preprocessing.json").write_text(json.dumps(fitted.to_json()))
    return made


def begin(folder, uri, experiment, *, patience=4):
    line = [sys.executable, "-m", "jamba_ray.tracking.follow", str(folder.path), "--tracker=mlflow"]
    line += [f"--project={experiment}", f"--uri={uri}", "--once", f"--patience={patience}"]
    return subprocess.Popen(
        line, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def follow(folder, uri, experiment, **options):
    process = begin(folder, uri, experiment, **options)
    said, _ = process.communicate(timeout=300)
    return process.returncode, said


def held(uri, experiment):
    """Our id -> MLflow's run, and all points of its curves."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(uri)
    found = client.get_experiment_by_name(experiment)
    runs = client.search_runs([found.experiment_id], max_results=1000) if found else []
    ids = [run.data.tags["jamba_ray.id"] for run in runs]
    assert len(ids) == len(set(ids)), "a run was begun twice"
    return {
        ours: (
            run,
            {key: client.get_metric_history(run.info.run_id, key) for key in run.data.metrics},
        )
        for ours, run in zip(ids, runs, strict=True)
    }


def assert_exactly_once(uri, experiment, folder):
    runs = tracked_runs(folder.path, Cursor(folder.path, "mlflow").birth)
    there = held(uri, experiment)
    assert set(there) == {run.id for run in runs}
    for run in runs:
        mlflow_run, curves = there[run.id]
        for key in {k for row in run.rows for k in row.values if not k.startswith("_")}:
            points = sorted((p.step, p.value) for p in curves[key])
            once = [(row.step, row.values[key]) for row in run.rows if key in row.values]
            assert points == once, (run.name, key)
        assert mlflow_run.info.run_name == run.name
        assert mlflow_run.info.status == ("FAILED" if run.failed else "FINISHED")
        parent = mlflow_run.data.tags.get("mlflow.parentRunId")
        assert parent == (run.sweep and there[run.sweep][0].info.run_id)


@pytest.mark.slow
def test_everything_arrives_nested_and_nothing_twice(server, folder):
    from mlflow.tracking import MlflowClient

    for _ in range(2):  # asked again it sends nothing
        code, said = follow(folder, server.uri, "all")
        assert code == 0, said
        assert_exactly_once(server.uri, "all", folder)
    runs = tracked_runs(folder.path, "")
    trial = next(run for run in runs if run.job_type == "trial" and not run.failed)
    there = held(server.uri, "all")[trial.id][0]
    assert there.data.params["training.rate"] == str(trial.config["training"]["rate"])
    assert there.data.tags["jamba_ray.state"] == trial.summary["state"]
    sweep = held(server.uri, "all")[runs[-1].id][0].info.run_id
    files = {file.path for file in MlflowClient(server.uri).list_artifacts(sweep)}
    assert files >= {"report.html", "leaderboard.json", "model", "checkpoints.json"}
    url = Cursor(folder.path, "mlflow").url
    assert url == f"{server.uri}/#/experiments/{there.info.experiment_id}/runs/{sweep}"


@pytest.mark.slow
def test_a_lost_cursor_and_a_lost_answer_cost_no_row_and_double_none(server, folder):
    assert follow(folder, server.uri, "lost")[0] == 0
    (folder.path / "tracking-mlflow.json").unlink()
    assert follow(folder, server.uri, "lost")[0] == 0
    assert_exactly_once(server.uri, "lost", folder)
    # As if the server had kept the rows and its answer had been lost: the tag is behind them.
    from mlflow.tracking import MlflowClient

    runs = tracked_runs(folder.path, "")
    trial = held(server.uri, "lost")[runs[0].id][0].info.run_id
    MlflowClient(server.uri).set_tag(trial, "jamba_ray.next_step", "1")
    (folder.path / "tracking-mlflow.json").unlink()
    assert follow(folder, server.uri, "lost")[0] == 0
    assert_exactly_once(server.uri, "lost", folder)


@pytest.mark.slow
@pytest.mark.parametrize("after_s", [0.1, 1.0, 3.0])
def test_a_follower_that_is_killed_is_finished_by_the_next(server, folder, after_s):
    name = f"killed-{after_s}"
    with begin(folder, server.uri, name) as process:
        deadline = time.monotonic() + 120
        while not held(server.uri, name) and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(after_s)
        process.kill()
    assert follow(folder, server.uri, name)[0] == 0
    assert_exactly_once(server.uri, name, folder)


@pytest.mark.slow
def test_a_server_that_dies_costs_no_row(server, folder):
    with begin(folder, server.uri, "died", patience=2) as process:
        while not held(server.uri, "died"):
            time.sleep(0.05)
        server.kill()
        said = process.stdout.read()
    assert process.returncode == 75, said
    problem = Cursor(folder.path, "mlflow").problem
    assert problem is not None
    assert problem.startswith("MLflow did not answer")
    server.start()
    assert follow(folder, server.uri, "died")[0] == 0
    assert_exactly_once(server.uri, "died", folder)
    assert Cursor(folder.path, "mlflow").problem is None


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # of MLflow's own use of SQLAlchemy
def test_a_runs_winner_is_a_model_of_mlflow_that_scores_as_it_does(tmp_path):
    """The command as a user gives it: a local database, the signature, the same scores."""
    pytest.importorskip("mlflow", reason="pip install 'jamba-ray[mlflow]'")
    line = [sys.executable, "-m", "jamba_ray.train", "model=mlp", "run=m", "tracking=mlflow"]
    line += ["data=table", "data.path=flows.csv", "data.target=bad", "training.epochs=2"]
    rng = np.random.default_rng(0)
    rows = pd.DataFrame({"bytes": rng.integers(0, 999, 600), "rate": rng.normal(size=600)})
    rows["proto"] = np.where(rng.random(600) < 0.5, "tcp", "udp")
    rows["bad"] = ((rows["bytes"] > 700) ^ (rng.random(600) < 0.05)).astype(int)
    rows.to_csv(tmp_path / "flows.csv", index=False)
    env = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")}
    done = subprocess.run(line, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stdout + done.stderr
    uri = f"sqlite:///{(tmp_path / 'runs' / 'mlflow.db').resolve()}"
    assert f"MLflow: mlflow ui --backend-store-uri {uri}" in done.stdout
    summary = json.loads((tmp_path / "runs" / "m" / "summary.json").read_text())
    assert summary["tracking"] == {"mlflow": f"mlflow ui --backend-store-uri {uri}"}
    import mlflow

    import jamba_ray

    mlflow.set_tracking_uri(uri)
    runs = mlflow.search_runs(experiment_names=["jamba_ray"], output_format="list")
    (run,) = (one for one in runs if one.info.run_name == "m")
    model = mlflow.pyfunc.load_model(f"runs:/{run.info.run_id}/model")
    assert set(model.metadata.signature.inputs.input_names()) == {"bytes", "rate", "proto"}
    new = rows.drop(columns="bad").head(50)
    native = jamba_ray.load(tmp_path / "runs" / "m")
    scored = model.predict(new)
    assert np.array_equal(scored["score"], native.predict_proba(new))
    assert np.array_equal(scored["alert"], scored["score"] >= native.threshold)
    with pytest.raises(mlflow.exceptions.MlflowException, match=r"missing inputs \['bytes'\]"):
        model.predict(new.drop(columns="bytes"))
    saved = tmp_path / "runs" / "mlartifacts"
    assert not [f for f in saved.rglob("*") if f.suffix in {".pkl", ".pickle"}]
