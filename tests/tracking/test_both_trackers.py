"""One sweep sent to W&B (a stub on loopback) and to a real MLflow server at once."""

import json
import subprocess
import sys

import pytest

from jamba_ray.tracking.cursor import Cursor
from jamba_ray.tracking.run_reader import tracked_runs
from tests.tracking import test_mlflow, test_wandb
from tests.tracking.stub_server import Stub
from tests.tracking.test_mlflow import Server, held
from tests.tracking.test_wandb import environment

pytest.importorskip("wandb", reason="pip install 'jamba-ray[wandb]'")
pytest.importorskip("mlflow", reason="pip install 'jamba-ray[mlflow]'")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SWEEP = [sys.executable, "-m", "jamba_ray.sweep", "+sweep=attention_heads", "n_trials=4"]
SWEEP += ["data.n_samples=1500", "training.epochs=2", "model.hidden_dim=8", "certify=false"]
SWEEP += ["tracking=[wandb,mlflow]", "tracking.mode=online"]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    one = Server(tmp_path_factory.mktemp("mlflow"))
    one.start()
    yield one
    one.kill()


@pytest.fixture
def stub():
    one = Stub()
    yield one
    one.close()


class Both:
    """The folder of a sweep that both trackers follow, and what each of them has."""

    def __init__(self, home, stub, server, name):
        self.home, self.stub, self.server, self.name = home, stub, server, name
        self.environment = environment(
            home, **stub.environment(), MLFLOW_TRACKING_URI=server.uri, OMP_NUM_THREADS="1"
        )
        self.folder = home / "runs" / name

    def command(self, *line):
        return subprocess.run(
            line, cwd=self.home, env=self.environment, capture_output=True, text=True, timeout=600
        )

    def sweep(self, *more):
        words = [*SWEEP, f"run={self.name}", f"tracking.project={self.name}", *more]
        done = self.command(*words)
        assert done.returncode == 0, done.stdout + done.stderr
        return " ".join(done.stdout.split())

    def sync(self):
        done = self.command(sys.executable, "-m", "jamba_ray.sync", f"run={self.name}")
        assert done.returncode == 0, done.stdout + done.stderr

    def check(self):
        """Each row of each run is there once, in both, with the same values."""

        class Folder:
            path = self.folder

        test_wandb.assert_exactly_once(self.stub, Folder)
        test_mlflow.assert_exactly_once(self.server.uri, self.name, Folder)
        there = held(self.server.uri, self.name)
        for run in tracked_runs(self.folder, ""):
            curves = {
                (key, point.step): point.value
                for key, points in there[run.id][1].items()
                for point in points
            }
            for row in self.stub.history(run.id)[: len(run.rows)]:
                sent = {k: v for k, v in row.items() if not k.startswith("_")}
                assert sent == {k: curves[k, row["_step"]] for k in sent}, run.name
                assert sent


def test_both_have_the_same_and_the_summary_says_where(tmp_path, stub, server):
    both = Both(tmp_path, stub, server, "together")
    both.sweep()
    both.check()
    shown = json.loads((both.folder / "summary.json").read_text())["tracking"]
    assert set(shown) == {"wandb", "mlflow"}
    assert shown["mlflow"].startswith(server.uri)
    both.sync()  # there is nothing left
    both.check()


def test_one_that_is_away_keeps_nothing_from_the_other(tmp_path, stub, server):
    both = Both(tmp_path, stub, server, "apart")
    stub.fault = "dropped"
    said = both.sweep("tracking.close_s=20")
    assert "not everything was sent to W&B" in said
    assert "sent to MLflow" not in said
    assert Cursor(both.folder, "mlflow").complete
    assert not Cursor(both.folder, "wandb").complete
    stub.fault = None
    server.kill()
    done = both.command(sys.executable, "-m", "jamba_ray.sync", "run=apart", "to=wandb")
    assert done.returncode == 0, done.stdout + done.stderr
    server.start()
    both.check()


def test_a_file_of_keys_is_enough_and_nothing_else_holds_one(tmp_path, stub, server):
    """No variable, no ~/.netrc: the process that sends reads ~/.jamba_ray/trackers.env."""
    both = Both(tmp_path, stub, server, "keyed")
    keys = {name: both.environment.pop(name) for name in ("WANDB_API_KEY", "MLFLOW_TRACKING_URI")}
    keys["WANDB_BASE_URL"] = both.environment.pop("WANDB_BASE_URL")
    keys["MLFLOW_TRACKING_TOKEN"] = "t0ken-of-m1flow"
    both.environment.pop("WANDB_ERROR_REPORTING", None)
    (tmp_path / ".jamba_ray").mkdir(mode=0o700)
    file = tmp_path / ".jamba_ray" / "trackers.env"
    file.touch(mode=0o600)
    file.write_text("".join(f"{name}={value}\n" for name, value in keys.items()))
    said = both.sweep("tracking.close_s=60")
    both.check()
    secrets = [keys["WANDB_API_KEY"].encode(), keys["MLFLOW_TRACKING_TOKEN"].encode()]
    assert not any(secret.decode() in said for secret in secrets)
    found = [
        str(path)
        for path in tmp_path.rglob("*")
        if path.is_file() and any(secret in path.read_bytes() for secret in secrets)
    ]
    assert found == [str(file)]
