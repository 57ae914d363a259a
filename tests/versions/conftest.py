"""Two small models as runs, keys, and a registry in a folder and in a bucket."""

from __future__ import annotations

import json
import subprocess

import numpy as np
import pytest
import torch

from jamba_ray.checkpoints import RemoteFolder, write_checkpoint
from jamba_ray.config.data import TableSection
from jamba_ray.config.run import TrialConfig
from jamba_ray.config.store_uri import StoreUri
from jamba_ray.data import prepare
from jamba_ray.inference.predictor import read_model
from jamba_ray.training import Member, fit
from jamba_ray.versions import actions
from jamba_ray.versions.bucket_place import BucketPlace
from jamba_ray.versions.place import FolderPlace
from jamba_ray.versions.source import read_source
from tests.checkpoints.s3_server import s3_server
from tests.inference.conftest import make_frame

RIGHTS = {
    "ann": ["register", "promote", "rollback", "roles"],
    "bob": ["register"],
    "eve": [],
    "release": ["sign"],
}


@pytest.fixture(scope="session")
def runs(tmp_path_factory):
    """Returns the folders of two runs, 'a' the better one, and of labelled rows."""
    torch.set_num_threads(1)
    base = tmp_path_factory.mktemp("versions")
    make_frame(700, seed=1).to_csv(base / "train.csv", index=False)
    make_frame(500, seed=2).to_csv(base / "labelled.csv", index=False)
    data = prepare(TableSection(path=str(base / "train.csv")))
    for name, trees in (("a", 40), ("b", 1)):
        model = {"name": "lightgbm", "n_estimators": trees}
        training = {"epochs": 1, "batch_size": 64, "report_rows": 400}
        config = TrialConfig.model_validate({"model": model, "training": training})
        (outcome,) = fit([Member(0, config)], data, lambda reports: ["continue"] * len(reports))
        (base / name).mkdir()
        write_checkpoint(outcome.checkpoint, base / name / "best")
    return base


@pytest.fixture(scope="session")
def keys(tmp_path_factory):
    """Returns the files of private keys, and a ``roles.json`` that names their owners."""
    base = tmp_path_factory.mktemp("keys")
    people = {}
    for name, may in RIGHTS.items():
        make = ["openssl", "genpkey", "-algorithm", "ed25519", "-out", f"{name}.pem"]
        if name == "release":
            curve = ["-name", "prime256v1", "-genkey", "-noout"]
            make = ["openssl", "ecparam", *curve, "-out", f"{name}.pem"]
        subprocess.run(make, cwd=base, check=True, capture_output=True)
        public = ["openssl", "pkey", "-in", f"{name}.pem", "-pubout"]
        pem = subprocess.run(public, cwd=base, check=True, capture_output=True, text=True).stdout
        people[name] = {"public_key": pem, "may": may}
    (base / "roles.json").write_text(json.dumps({"format": 1, "people": people}))
    return base


@pytest.fixture(scope="session")
def bucket_server():
    with s3_server() as (endpoint, faults):
        yield endpoint, faults


def bucket_place(endpoint, prefix, **more):
    remote = RemoteFolder(StoreUri("s3", f"bucket/{prefix}"), endpoint)
    return BucketPlace(remote, **more)


@pytest.fixture(params=["folder", pytest.param("bucket", marks=pytest.mark.slow)])
def place(request, tmp_path, monkeypatch):
    if request.param == "folder":
        return FolderPlace(tmp_path / "registry")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    endpoint, _ = request.getfixturevalue("bucket_server")
    return bucket_place(endpoint, tmp_path.name)


def register(place, run, key=None, name="threats"):
    source, saved = read_source(str(run)), read_model(run)
    return actions.register(place, name, source, saved, [], "MIT", "", key)


def promote(place, number, alias="champion", key=None, name="threats"):
    return actions.promote(actions.candidate(place, name, number, alias), [], None, "", key)


def scores_of(predictor):
    frame = make_frame(50, seed=3).drop(columns="is_threat")
    return np.asarray(predictor.predict_proba(frame))
