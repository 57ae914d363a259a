"""``study.db`` of version 0.1 (kept in ``data/``) is read once and continued in a journal."""

from __future__ import annotations

import dataclasses
import gzip
import json
import os
import sqlite3
import time
from pathlib import Path

import pytest

from jamba_ray.checkpoints import RemoteFolder
from jamba_ray.config.store_uri import StoreUri
from jamba_ray.errors import RunExistsError, StorageError
from jamba_ray.runs.bucket_replica import BucketReplica
from jamba_ray.runs.run_folder import RunFolder
from jamba_ray.study import lease
from jamba_ray.study.reading import read_study
from tests.checkpoints.s3_server import s3_server
from tests.study.studies import open_study, plain, train

DATA = Path(__file__).parent / "data"
OLD = gzip.decompress((DATA / "study-0.1.db.gz").read_bytes())
LATER = {"origin": None, "folds": [], "std_error": None}
"""What records have had since."""
RECORDS = [{**r, **LATER} for r in json.loads((DATA / "study-0.1.json").read_text())]


@pytest.fixture
def folder(tmp_path):
    """A run of seven trials, one of them without an end."""
    (tmp_path / "study.db").write_bytes(OLD)
    return tmp_path


def as_json(records):
    """What that version knew of a trial: it had one objective and no limits."""
    found = json.loads(json.dumps([dataclasses.asdict(r) for r in records], default=str))
    assert all((r.pop("values"), r.pop("violation")) == ([], 0.0) for r in found)
    return found


def test_it_is_continued_and_said_once(folder):
    study = open_study(folder, n_trials=8, session="t")
    assert as_json(study.records()) == RECORDS
    assert study.notes()[0] == (
        "study.db of an earlier version was read; the study goes on in study.journal. "
        "The old file is kept as study.db.imported."
    )
    spec = study.ask("t/a").spec
    assert (spec.number, spec.step, spec.saved) == (6, 1, 1)
    assert train(study, spec, start=2)
    assert study.ask("t/b").spec.number == 7
    study.close()
    assert not (folder / "study.db").exists()
    assert (folder / "study.db.imported").read_bytes() == OLD
    assert len(plain(folder / "study.journal").trials) == 8
    again = open_study(folder, n_trials=8)
    assert again.notes() == ["a note"]
    assert [r.state for r in again.records()][:6] == [r["state"] for r in RECORDS][:6]
    again.close()


def test_a_report_reads_it_where_it_lies(folder):
    before = sorted(folder.iterdir())
    assert as_json(read_study(folder / "study.journal").trials) == RECORDS
    assert sorted(folder.iterdir()) == before


def test_a_damaged_one_is_read_from_its_copy(folder):
    (folder / "study.copy.db").write_bytes(OLD)
    with sqlite3.connect(folder / "study.db") as connection:
        connection.execute("UPDATE trial_values SET value = value * 1.0000001")
    connection.close()
    study = open_study(folder, n_trials=8)
    assert as_json(study.records()) == RECORDS
    assert "study.copy.db of an earlier version was read (study.db is damaged" in study.notes()[0]
    study.close()


@pytest.mark.parametrize("damage", ["flipped", "torn", "text"])
def test_without_a_copy_a_damaged_one_is_refused_and_left_alone(folder, damage):
    study = folder / "study.db"
    if damage == "flipped":
        with sqlite3.connect(study) as connection:
            connection.execute("UPDATE trial_values SET value = value * 1.0000001")
        connection.close()
    elif damage == "torn":
        os.truncate(study, len(OLD) // 2)
    else:
        study.write_text("no database")
    before = study.read_bytes()
    with pytest.raises(StorageError, match=r"study\.db' is damaged.*Restore it"):
        open_study(folder)
    assert study.read_bytes() == before
    assert not (folder / "study.journal").exists()


def test_a_driver_of_the_old_version_keeps_it(folder):
    with sqlite3.connect(folder / "study.db") as connection:
        connection.execute(
            "UPDATE jamba_ray_lease SET holder = ?, renewed = ?",
            (json.dumps(lease._myself()), time.time()),
        )
    connection.close()
    with pytest.raises(RunExistsError, match=f"process {os.getpid()} on"):
        open_study(folder)
    assert (folder / "study.db").exists()


@pytest.mark.parametrize("local", ["nothing", "older", "journal"])
def test_one_in_a_bucket_is_taken_where_it_is_further(tmp_path, monkeypatch, local):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with s3_server() as (endpoint, _):
        uri = StoreUri("s3", "bucket/sweeps/r")
        remote = RemoteFolder(uri, endpoint)
        remote.write("study.db", OLD)
        folder = RunFolder(tmp_path / "r", uri, endpoint).create()
        if local == "older":
            (folder.path / "study.db").write_bytes(OLD)
            with sqlite3.connect(folder.path / "study.db") as connection:
                connection.execute("DELETE FROM trial_user_attributes WHERE trial_id = 7")
            connection.close()
        elif local == "journal":
            open_study(folder.path, n_trials=8).close()
        said = BucketReplica(folder, uri).fetch()
        assert (said is None) == (local == "journal")
        study = open_study(folder.path, n_trials=8)
        assert as_json(study.records()) == ([] if local == "journal" else RECORDS)
        study.close()
        BucketReplica(folder, uri).push_study()
        assert remote.names() == ["study/000000000000.jsonl"]
