"""Nothing that lies in a run folder is ever un-pickled, by any process of a resumed sweep.

Ray pickles what it sends between its own processes; that never touches the folder. So every process
is watched by an audit hook: it notes each file of the folder that is opened, and each un-pickling
that does not begin in Ray's own code.
"""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest

from jamba_ray.checkpoints import RemoteFolder, Snapshot
from jamba_ray.config.data import SyntheticSection
from jamba_ray.config.store_uri import parse_store
from jamba_ray.data import generate
from jamba_ray.runs.bucket_replica import BucketReplica
from jamba_ray.runs.run_folder import RunFolder
from tests.checkpoints.s3_server import s3_server
from tests.study import trials

WATCH = """
import os, sys
_folder, _log = os.environ["JAMBA_RAY_AUDITED"], os.environ["JAMBA_RAY_AUDIT_LOG"]
def _note(*words):
    descriptor = os.open(_log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, (" ".join(words) + "\\n").encode())
    os.close(descriptor)
def _hook(event, args):
    if event == "open" and isinstance(args[0], str) and args[0].startswith(_folder):
        _note("open", args[0])
    elif event == "pickle.find_class":
        frame = sys._getframe(1)
        files = []
        while frame is not None:
            files.append(frame.f_code.co_filename)
            frame = frame.f_back
        if "/ray/" not in (files[0] if files else "") and not any("/ray/" in f for f in files[:3]):
            _note("unpickled", str(args), *files[:6])
sys.addaudithook(_hook)
"""

PLANTED = ("tuner.pkl", "searcher-state.pkl", "checkpoint.pkl", "data_checkpoint.ckpt", "model.pt")


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_resumed_sweep_unpickles_nothing_of_its_folder(tmp_path):
    path = tmp_path / "run"
    folder = RunFolder(path).create()
    trials.without_ray(folder, n_trials=6)
    canary, log = tmp_path / "canary", tmp_path / "audit.log"
    bomb = pickle.dumps(Bomb(canary))
    checkpoint = next(folder.checkpoints.glob("trial-*/*"))
    for place in (path, folder.checkpoints, checkpoint, checkpoint.parent, folder.logs):
        for name in PLANTED:
            (place / name).write_bytes(bomb)
        (place / "experiment_state-2026.json").write_bytes(bomb)
    (tmp_path / "sitecustomize.py").write_text(WATCH)
    done = subprocess.run(
        [sys.executable, "-m", "tests.study.trials", "9", "0.15", str(path)],
        capture_output=True,
        text=True,
        timeout=600,
        env={
            **os.environ,
            "PYTHONPATH": f"{tmp_path}{os.pathsep}{os.getcwd()}",
            "JAMBA_RAY_AUDITED": str(path),
            "JAMBA_RAY_AUDIT_LOG": str(log),
        },
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = log.read_text().splitlines()
    opened = {line.split(" ", 1)[1] for line in lines if line.startswith("open ")}
    assert any(name.startswith(str(folder.checkpoints)) for name in opened), "nothing was watched"
    assert not [n for n in opened if n.endswith((*PLANTED, "experiment_state-2026.json"))]
    assert not [line for line in lines if line.startswith("unpickled")]
    assert not canary.exists()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_report_evaluate_and_resume_unpickle_nothing_of_a_run(tmp_path):
    """The commands themselves, over a run with pickles wherever one might be looked for."""
    run, canary, log = tmp_path / "runs" / "r", tmp_path / "canary", tmp_path / "audit.log"
    rows = tmp_path / "rows.csv"
    generate(SyntheticSection(name="synthetic", n_samples=1500, n_features=6)).to_csv(
        rows, index=False
    )
    (tmp_path / "sitecustomize.py").write_text(WATCH)
    watched = {
        **os.environ,
        "PYTHONPATH": f"{tmp_path}{os.pathsep}{os.getcwd()}",
        "JAMBA_RAY_AUDITED": str(run),
        "JAMBA_RAY_AUDIT_LOG": str(log),
    }

    def command(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", *words],
            cwd=tmp_path,
            env=watched,
            capture_output=True,
            text=True,
            timeout=400,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    sweep = ["jamba_ray.sweep", "+sweep=learning_rate", "model=mlp", "data=table"]
    sweep += [f"data.path={rows}", "n_trials=2", "training.epochs=2", "run=r"]
    command(*sweep)
    bomb = pickle.dumps(Bomb(canary))
    places = [run, *(path for path in run.rglob("*") if path.is_dir())]
    for place in places:
        for name in (*PLANTED, "experiment_state-2026.json"):
            (place / name).write_bytes(bomb)
    assert len(places) > 5, "a run has folders"
    log.write_text("")
    command("jamba_ray.report", f"run={run}")
    command("jamba_ray.evaluate", f"checkpoint={run}", f"data.path={rows}")
    command(*sweep, "resume=true", "n_trials=3", "allow_config_change=true")
    lines = log.read_text().splitlines()
    opened = {line.split(" ", 1)[1] for line in lines if line.startswith("open ")}
    # SQLite and safetensors open theirs in compiled code, which no hook sees.
    for what in ("config.yaml", "summary.json", "manifest.json", "state.json"):
        assert any(name.endswith(what) for name in opened), f"{what} was never opened: {opened}"
    assert not [n for n in opened if n.endswith((*PLANTED, "experiment_state-2026.json"))]
    assert not [line for line in lines if line.startswith("unpickled")]
    assert not canary.exists()


FROM_THE_STORE = """
import sys
from pathlib import Path
from jamba_ray.checkpoints import RemoteFolder
from jamba_ray.config.store_uri import parse_store
from jamba_ray.errors import JambaError
from jamba_ray.inference import load
from jamba_ray.runs.bucket_replica import BucketReplica
from jamba_ray.runs.run_folder import RunFolder
from jamba_ray.study.reading import read_study
uri, endpoint, path = sys.argv[1], sys.argv[2], Path(sys.argv[3])
folder = RunFolder(path, remote=parse_store(uri), endpoint=endpoint).create(resume=True)
print(BucketReplica(folder, parse_store(uri)).fetch())
print(len(read_study(folder.study).trials), "trials")
store = folder.checkpoint_store()
print(store.latest(0, "best")[0].entry.path)
print(len(store.latest(1)[1]), "warning")
store.publish("trial-0000/best-000003", folder.best)
for hostile in (uri, f"{uri}/checkpoints/trial-0001/step-000003"):
    try:
        load(hostile)
    except JambaError as error:
        print("refused:", error.message)
"""


def test_nothing_is_unpickled_that_comes_from_a_remote_store(tmp_path, monkeypatch):
    """A bucket full of pickles in the places of checkpoints, weights and whatever Ray writes."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    uri, canary, log = "s3://bucket/sweeps/night", tmp_path / "canary", tmp_path / "audit.log"
    bomb = pickle.dumps(Bomb(canary))
    here = RunFolder(tmp_path / "here").create()
    trials.without_ray(here, n_trials=2)
    with s3_server() as (endpoint, _):
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        bucket = RemoteFolder(parse_store(uri), endpoint)
        BucketReplica(
            RunFolder(here.path, parse_store(uri), endpoint), parse_store(uri)
        ).push_study()
        store = RunFolder(tmp_path / "x", remote=parse_store(uri), endpoint=endpoint)
        whole = Snapshot(tensors={"model/w": np.ones(3)}, documents={"state": {"step": 3}})
        store.checkpoint_store().save(0, 3, whole, "best")
        store.checkpoint_store().save(1, 3, whole)
        names = bucket.names()
        for name in names:
            if "trial-0001" in name and "model.safetensors" in name:
                bucket.write(name, bomb)
        for place in ("", "best/", "checkpoints/", "checkpoints/trial-0000/best-000003/"):
            for name in PLANTED:
                bucket.write(f"{place}{name}", bomb)
        bucket.write("best/manifest.json", bomb)
        (tmp_path / "sitecustomize.py").write_text(WATCH)
        done = subprocess.run(
            [sys.executable, "-c", FROM_THE_STORE, uri, endpoint, str(tmp_path / "there")],
            capture_output=True,
            text=True,
            timeout=200,
            env={
                **os.environ,
                "PYTHONPATH": f"{tmp_path}{os.pathsep}{os.getcwd()}",
                "JAMBA_RAY_AUDITED": str(tmp_path / "there"),
                "JAMBA_RAY_AUDIT_LOG": str(log),
            },
        )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[:4] == [
        f"continuing the study in {uri} (2 trials begun)",
        "2 trials",
        "trial-0000/best-000003",
        "1 warning",
    ]
    assert done.stdout.count("refused:") == 2, done.stdout
    lines = log.read_text().splitlines()
    assert any(line.startswith("open ") for line in lines), "nothing was watched"
    assert not [line for line in lines if line.startswith("unpickled")]
    assert not canary.exists()


def test_the_audit_would_see_it(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(WATCH)
    (tmp_path / "run").mkdir()
    bomb = tmp_path / "run" / "model.pt"
    bomb.write_bytes(pickle.dumps(Bomb(tmp_path / "canary")))
    code = "import pickle, sys; pickle.load(open(sys.argv[1], 'rb'))"
    log = tmp_path / "audit.log"
    subprocess.run(
        [sys.executable, "-c", code, str(bomb)],
        check=True,
        env={
            **os.environ,
            "PYTHONPATH": str(tmp_path),
            "JAMBA_RAY_AUDITED": str(tmp_path / "run"),
            "JAMBA_RAY_AUDIT_LOG": str(log),
        },
    )
    assert (tmp_path / "canary").exists()
    assert "open " in log.read_text()
    assert "unpickled" in log.read_text()


def test_all_json_of_the_study_is_strict(tmp_path):
    def refuse(name):
        raise AssertionError(f"{name} is no JSON")

    folder = RunFolder(tmp_path / "run").create()
    trials.without_ray(folder, n_trials=3)
    for line in folder.study.read_text().splitlines():
        json.loads(line, parse_constant=refuse)
