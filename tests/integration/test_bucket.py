"""``train`` into a bucket, continued and reported from other machines than the one that trained."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import pytest

from jamba_ray.checkpoints import RemoteFolder
from jamba_ray.config.store_uri import StoreUri
from tests.checkpoints.s3_server import s3_server
from tests.integration.conftest import SMALL

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def bucket():
    with s3_server() as (endpoint, _):
        yield endpoint


@pytest.fixture
def on_machine(tmp_path, bucket):
    """Run a command in the folder of a machine of its own; what it said."""

    def run(machine, name, *arguments, expect=0):
        folder = tmp_path / machine
        folder.mkdir(exist_ok=True)
        environment = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")} | {
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_ENDPOINT_URL": bucket,
        }
        done = subprocess.run(
            [sys.executable, "-m", f"jamba_ray.{name}", *arguments],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=200,
        )
        said = done.stdout + done.stderr
        assert done.returncode == expect, said
        assert "Traceback" not in said
        return said

    return run


def test_a_training_lives_in_its_bucket(on_machine, bucket, tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    remote = RemoteFolder(StoreUri("s3", "bucket/jobs/one"), bucket)
    train = [*SMALL, "training.epochs=2", "rival=false", "store=s3://bucket/jobs", "run=one"]

    on_machine("first", "train", *train)
    names = remote.names()
    for name in ("summary.json", "scores.parquet", "rows.jsonl.gz", "best/manifest.json"):
        assert name in names
    assert any(name.startswith("checkpoints/trial-0000/best-") for name in names)
    assert not list((tmp_path / "first/runs/one/checkpoints").glob("*")), "checkpoints stay here"

    said = on_machine("second", "train", *train, expect=73)
    assert "s3://bucket/jobs/one' exists" in said
    on_machine("second", "train", *train, "resume=true")
    again = json.loads(remote.read("summary.json", 10**7))
    first = json.loads((tmp_path / "first/runs/one/summary.json").read_text())
    assert again["best"]["test"] == first["best"]["test"]

    # The report is that of the machine which has the run.
    said = on_machine("third", "report", "run=s3://bucket/jobs/one")
    assert "runs/one/report.html" in said
    page = (tmp_path / "third/runs/one/report.html").read_text()
    assert page == remote.read("report.html", 10**8).decode()
    assert "jamba-ray-run" not in page, "the report tells of a folder that is gone"
    assert "jamba-ray evaluate checkpoint=s3://bucket/jobs/one data.path" in page
    on_machine("second", "report", "run=one")
    mine = (tmp_path / "second/runs/one/report.html").read_text()
    assert _timeless(mine) == _timeless(page.replace("s3://bucket/jobs/one", "runs/one"))

    on_machine("third", "report", "runs=[one,s3://bucket/jobs/one]", "store=s3://bucket/jobs")
    assert (tmp_path / "third/runs/comparison.html").stat().st_size > 1000


def test_what_is_no_run_is_one_sentence(on_machine):
    said = on_machine("third", "report", "run=s3://bucket/jobs/nothing", expect=66)
    assert "s3://bucket/jobs/nothing must be a run" in said
    said = on_machine("third", "report", "top_n=2", "store=s3://bucket/jobs", expect=64)
    assert "`runs=[a,b]`" in said
    said = on_machine("third", "sync", "run=s3://bucket/jobs/one", expect=66)
    assert "in a bucket" in said


def _timeless(page: str) -> str:
    """Without the minute in which it was made."""
    return re.sub(r"\d\d:\d\d\.", "", page)
