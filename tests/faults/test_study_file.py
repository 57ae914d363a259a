"""Damage to the study's files, done for real: detected, made good from the copy, and said."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import subprocess
import time
from pathlib import Path

import pytest

from jamba_ray.chaos.faults import truncate_study
from jamba_ray.chaos.subject import sweep_config
from jamba_ray.driver import bucket_store
from jamba_ray.errors import StorageError
from jamba_ray.runs.bucket_replica import replica_of
from jamba_ray.study import recovery, rows
from jamba_ray.study.outcome import TrialOutcome
from tests.checkpoints.s3_server import s3_server
from tests.faults.disks import fill, small_disk
from tests.study.studies import line, open_study, train


def contents(folder: Path):
    study = open_study(folder, session="reader")
    found, notes = [r for r in study.records() if r.state != "running"], study.notes()
    study.close()
    return found, notes


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    """A study of six trials, closed; its copy beside it."""
    folder = tmp_path_factory.mktemp("ended")
    study = open_study(folder, n_trials=6)
    for n in range(6):
        train(study, study.ask(f"s/{n}").spec)
    records = study.records()
    study.close()
    return folder, records


@pytest.fixture
def killed(tmp_path, monkeypatch):
    """A study whose writer died after six trials, the copy being of its third commit."""
    folder = tmp_path / "killed"
    study = open_study(folder, n_trials=7)
    for n in range(6):
        train(study, study.ask(f"s/{n}").spec)
        if n == 0:
            study._db._copy()
            monkeypatch.setattr(study._db, "copy_if_due", lambda: None)
    records = study.records()
    # The process is gone, nothing is closed: as the files lie after SIGKILL.
    left = tmp_path / "left"
    shutil.copytree(folder, left)
    study.close()
    for name in ("study.db", "study.copy.db"):
        forget_holder(left / name)
    return left, records


def forget_holder(study: Path) -> None:
    """This process, which still lives."""
    with sqlite3.connect(study) as connection:
        connection.execute("UPDATE jamba_ray_lease SET holder = ''")


def flip_a_bit(path: Path, rng: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


def flips_that_change_a_trial(ended, tmp_path) -> int:
    """How many of 60 seeded bit flips end in a study that silently says something else."""
    source, records = ended
    silent = 0
    for seed in range(60):
        folder = tmp_path / str(seed)
        shutil.copytree(source, folder)
        flip_a_bit(folder / "study.db", random.Random(seed))
        found, notes = contents(folder)
        silent += found != records and not notes
    return silent


def test_a_flipped_bit_never_changes_a_trial_silently(ended, tmp_path):
    assert flips_that_change_a_trial(ended, tmp_path) == 0


def test_without_the_digests_flipped_bits_would_pass(ended, tmp_path, monkeypatch):
    """Sabotage twin: SQLite's own check does not see them."""
    digests = {}

    def unchecked(connection):
        found = rows._read(connection)
        digests.update(dict(connection.execute("SELECT * FROM jamba_ray_digests")))
        return found

    monkeypatch.setattr(rows, "read", unchecked)
    source, records = ended
    folder = tmp_path / "flipped"
    shutil.copytree(source, folder)
    with sqlite3.connect(folder / "study.db") as connection:
        connection.execute(
            "UPDATE trial_values SET value = value * 1.0000001 WHERE trial_value_id = 1"
        )
    found, notes = contents(folder)
    assert found != records
    assert not notes


@pytest.mark.parametrize("damage", ["torn", "zeros", "emptied", "deleted", "text", "log gone"])
def test_everything_acknowledged_comes_back(killed, damage):
    folder, records = killed
    study, log = folder / "study.db", folder / "study.db-wal"
    size = study.stat().st_size
    if damage == "torn":
        os.truncate(study, size // 2 + 100)
    elif damage == "zeros":
        study.write_bytes(bytes(size))
    elif damage == "emptied":
        study.write_bytes(b"")
    elif damage == "deleted":
        study.unlink()
    elif damage == "text":
        study.write_text("no database")
    if damage == "log gone":
        # The newest commits were only in the log: SQLite alone would open without a word.
        study_before = sqlite3.connect(study)
        study_before.close()
        shutil.copy(folder / "study.copy.db", study)
    log.unlink(missing_ok=True)
    found, notes = contents(folder)
    assert found == records
    assert any("was restored from study.copy.db" in note for note in notes)
    again, notes = contents(folder)
    assert again == records
    assert notes == []


def test_a_line_of_the_redo_that_is_torn_is_said(killed):
    folder, records = killed
    (folder / "study.db").unlink()
    (folder / "study.db-wal").unlink(missing_ok=True)
    redo = folder / "study.redo"
    lines = redo.read_text().splitlines(keepends=True)
    redo.write_text("".join(lines[:5]) + lines[5][:40] + "\n" + "".join(lines[6:]))
    found, notes = contents(folder)
    assert any("commits after it are lost and their work is done again" in n for n in notes)
    assert found == records[: len(found)]


@pytest.mark.parametrize("what", ["no copy", "damaged copy", "checkpoints only"])
def test_what_cannot_be_made_good_is_refused(ended, tmp_path, what):
    folder = tmp_path / "run"
    shutil.copytree(ended[0], folder)
    (folder / "study.db").write_bytes(b"broken" * 1000)
    if what == "damaged copy":
        (folder / "study.copy.db").write_bytes(b"broken" * 1000)
    else:
        (folder / "study.copy.db").unlink()
    (folder / "study.redo").unlink()
    if what == "checkpoints only":
        (folder / "study.db").unlink()
        (folder / "checkpoints" / "trial-0000").mkdir(parents=True)
    with pytest.raises(StorageError, match=r"study\.db.*no good copy.*Restore it"):
        open_study(folder)


def test_a_commit_whose_reply_was_lost_may_be_made_again(tmp_path):
    study = open_study(tmp_path)
    spec = study.ask("s/a").spec
    study.report([line(spec.number, 1, 0.5)])
    memory = study._db.storage
    memory.set_trial_user_attr(spec.number, "x", 1)
    changed = [*memory.take_rows(), ("commits", [study._db._commits + 1])]
    study._db._commit_once(changed)
    study._db._commit_once(changed)
    study._db._commits += 1
    study.finish(TrialOutcome(spec.number, "complete", value=0.5))
    records = study.records()
    study.close()
    assert contents(tmp_path)[0] == records


def test_a_full_disk_is_waited_for_and_nothing_acknowledged_is_lost(tmp_path):
    with small_disk(tmp_path / "disk", 1500) as disk:
        study = open_study(disk / "run", n_trials=500, patience_s=1.5)
        acknowledged = []

        def go_on_for_ever():
            for n in range(500):
                began.append(time.monotonic())
                train(study, study.ask(f"s/{n}").spec)
                acknowledged[:] = study.records()

        began = []
        with pytest.raises(StorageError, match=r"must be writable.*What was acknowledged is int"):
            go_on_for_ever()
        assert time.monotonic() - began[-1] > 1.5, "it did not wait"
        assert len(acknowledged) > 5
        study._db._connection.close()
        study._db._redo.close()
        subprocess.run(["mount", "-o", "remount,size=8M", str(disk)], check=True)
        with sqlite3.connect(disk / "run" / "study.db") as connection:
            connection.execute("UPDATE jamba_ray_lease SET holder = ''")
        again = open_study(disk / "run", n_trials=500, session="t")
        assert again.records()[: len(acknowledged)] == acknowledged
        again.close()


def test_space_that_comes_back_in_time_ends_the_wait(tmp_path):
    import threading

    with small_disk(tmp_path / "disk", 3000) as disk:
        said = []
        study = open_study(disk / "run", patience_s=30.0, waiting=said.append)
        spec = study.ask("s/a").spec
        ballast = disk / "ballast"
        fill(ballast)
        timer = threading.Timer(1.5, ballast.unlink)
        timer.start()
        for step in range(1, 200):
            study.report([line(spec.number, step, 0.1)])
        timer.join()
        sentences = [s for s in said if s is not None]
        assert sentences[0] == (
            "the store refuses (database or disk is full): trying again, 0 of 30 s"
        )
        assert said[-1] is None
        assert len(study.records()[0].curve) >= 1
        study.close()


def test_a_folder_that_vanishes_is_noticed(tmp_path):
    """SQLite alone would go on writing to the deleted file without an error."""
    study = open_study(tmp_path / "run", patience_s=0.5)
    spec = study.ask("s/a").spec
    os.rename(tmp_path / "run", tmp_path / "gone")
    with pytest.raises(StorageError, match="must be writable"):
        study.report([line(spec.number, 1, 0.1)])
    study._db._connection.close()
    study._db._redo.close()


def test_the_copy_is_whole_verified_and_never_replaced_by_a_damaged_one(tmp_path):
    study = open_study(tmp_path)
    train(study, study.ask("s/a").spec)
    study._db._copy()
    copy = recovery.copy_of(tmp_path / "study.db")
    before = copy.read_bytes()
    study._db._connection.execute("UPDATE trial_values SET value = 0.125")
    train(study, study.ask("s/b").spec)
    study._db._copy()
    assert copy.read_bytes() == before
    study.close()


def test_a_study_torn_before_its_first_few_seconds_are_over_is_made_good(tmp_path):
    """The first commit is copied at once: a quick start must not outrun the copy."""
    study = open_study(tmp_path / "run")
    spec = study.ask("s/a").spec
    study.report([line(spec.number, 1, 0.1)])
    shutil.copytree(tmp_path / "run", tmp_path / "torn")  # as SIGKILL leaves it
    study.close()
    forget_holder(tmp_path / "torn" / "study.copy.db")
    truncate_study(tmp_path / "torn", random.Random(0))
    again = open_study(tmp_path / "torn", session="again")
    assert any("was restored from study.copy.db" in note for note in again.notes())
    assert [(r.number, r.state) for r in again.records()] == [(spec.number, "running")]
    again.close()


@pytest.mark.parametrize("damage", ["deleted", "emptied", "torn", "everything lost"])
def test_an_older_study_in_the_bucket_never_replaces_what_can_be_made_good(
    tmp_path, monkeypatch, damage
):
    monkeypatch.chdir(tmp_path)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with s3_server() as (endpoint, _):
        config = sweep_config(7, 0).model_copy(
            update={"store": "s3://bucket/sweeps", "store_endpoint": endpoint, "run": "r"}
        )
        folder = bucket_store.folder_of(config).create()
        study = open_study(folder.path, n_trials=7)
        for n in range(6):
            train(study, study.ask(f"s/{n}").spec)
            if n == 2:
                replica_of(folder).push_study()
        records = study.records()
        shutil.copytree(folder.path, tmp_path / "left")  # as SIGKILL leaves it
        study.close()
        shutil.rmtree(folder.path)
        shutil.copytree(tmp_path / "left", folder.path)
        for name in ("study.db", "study.copy.db"):
            forget_holder(folder.path / name)
        if damage == "torn":
            truncate_study(folder.path, random.Random(0))
        elif damage == "emptied":
            folder.study.write_bytes(b"")
        else:
            folder.study.unlink()
        if damage == "everything lost":
            for file in folder.path.glob("study.*"):
                file.unlink()
            records = records[:3]
        said = bucket_store.create(folder, config)
        expected = "continuing the study in" if damage == "everything lost" else "was restored from"
        assert expected in said
        forget_holder(folder.study)
        assert contents(folder.path)[0] == records
