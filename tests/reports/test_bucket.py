"""A run in a bucket is read as the run that was copied there."""

from __future__ import annotations

import pytest
import yaml

from jamba_ray.checkpoints import RemoteFolder
from jamba_ray.config.mistakes import validate
from jamba_ray.config.report import ReportConfig
from jamba_ray.config.store_uri import StoreUri
from jamba_ray.errors import ConfigError, NoRunError
from jamba_ray.reports import bucket
from jamba_ray.reports.run import Run, find_run
from jamba_ray.runs.bucket_replica import BucketReplica
from jamba_ray.runs.file_writes import write_bytes, write_json
from jamba_ray.runs.row_log import RowLog
from jamba_ray.runs.run_folder import RunFolder
from tests.study.studies import open_study, run_to_end


@pytest.fixture(scope="module")
def endpoint(bucket_server):
    return bucket_server[0]


@pytest.fixture
def run(tmp_path, endpoint) -> RunFolder:
    """A sweep of five trials with rows, in a folder and mirrored."""
    uri = StoreUri("s3", f"bucket/{tmp_path.name.replace('_', '-')}/night")
    folder = RunFolder(tmp_path / "here" / "night", uri, endpoint).create()
    write_bytes(folder.config, yaml.safe_dump({"objective": "average_precision"}).encode())
    write_json(folder.summary, {"status": "ok", "objective": "average_precision"})
    study = open_study(folder.path, n_trials=5)
    run_to_end(study)
    rows = RowLog(folder.path, system=False)
    for trial in study.records():
        for step, value in trial.curve:
            metrics = {"val/average_precision": value, "train/loss": 1 / step}
            rows.write(trial.number, step, metrics, epoch=step / 9)
    study.close()
    BucketReplica(folder, uri).push_results()
    return folder


def test_what_is_read_is_what_lies_in_the_folder(run, endpoint):
    with bucket.opened(str(run.remote), "runs", endpoint) as one:
        mine = Run(run.path)
        assert one.name == "night"
        assert one.records == mine.records
        assert one.curves.equals(mine.curves)
        assert not one.curves["train/loss"].isna().any()
        scratch = one.folder.path
    assert not scratch.exists()
    store, _, name = str(run.remote).rpartition("/")
    with bucket.opened(name, store, endpoint) as same:
        assert len(same.records) == 5


def test_a_study_without_results_is_a_run(run, endpoint, tmp_path):
    """As after the loss of the driver's machine: what is there is the study and the settings."""
    uri = StoreUri("s3", f"{run.remote.path}-lost")
    BucketReplica(run, uri).push_study()
    config, part = RemoteFolder(uri, endpoint).names()
    assert config == "config.yaml"
    assert part == "study/000000000000.jsonl"
    with bucket.opened(str(uri), "runs", endpoint) as one:
        assert len(one.records) == 5
        assert one.summary == {}


def test_rows_go_where_there_are_none(run, endpoint, tmp_path):
    """On resume elsewhere the bucket's rows are taken, and this machine's own are kept."""
    other = RunFolder(tmp_path / "there" / "night", run.remote, endpoint).create()
    own = RowLog(other.path, system=False)
    own.write(1, 1, {"mine": 1.0})
    BucketReplica(other, run.remote).fetch()
    for trial in (0, 2, 3, 4):
        name = f"rows/trial-{trial:04d}.jsonl"
        assert (other.path / name).read_bytes() == (run.path / name).read_bytes()
    assert b"mine" in (other.path / "rows/trial-0001.jsonl").read_bytes()


def test_damaged_rows_cost_no_run(run, endpoint):
    remote = RemoteFolder(run.remote, endpoint)
    whole = remote.read("rows.jsonl.gz", 10**7)
    remote.write("rows.jsonl.gz", whole[: len(whole) // 2])
    with bucket.opened(str(run.remote), "runs", endpoint) as one:
        assert len(one.records) == 5


def test_what_is_not_there_is_said(endpoint):
    with (
        pytest.raises(NoRunError, match=r"s3://bucket/nothing must be a run"),
        bucket.opened("s3://bucket/nothing", "runs", endpoint),
    ):
        pass
    for given in (("night", "s3://bucket/sweeps"), ("s3://bucket/sweeps/night", "runs")):
        with pytest.raises(NoRunError, match="in a bucket"):
            find_run(*given)


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"run": "s3://user:secret@bucket/night"}, "no credentials"),
        ({"run": "../night", "store": "s3://bucket/sweeps"}, "plain names"),
        ({"runs": ["a", "ftp://bucket/b"]}, "scheme"),
        ({"top_n": 3, "store": "s3://bucket/sweeps"}, "runs="),
    ],
)
def test_places_are_checked_before_anything_is_read(given, match):
    with pytest.raises(ConfigError, match=match) as raised:
        validate(ReportConfig, given)
    assert "secret" not in str(raised.value)
