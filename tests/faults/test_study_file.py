"""Damage to the study's files, done for real: detected, made good from the copy, and said."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from jamba_ray.chaos.faults import flip_study, truncate_study
from jamba_ray.chaos.subject import sweep_config
from jamba_ray.driver import bucket_store
from jamba_ray.errors import StorageError
from jamba_ray.runs import checked_lines
from jamba_ray.runs.bucket_replica import replica_of
from jamba_ray.study import journal as journal_file
from jamba_ray.study import lease
from jamba_ray.study.records import TrialOutcome
from tests.checkpoints.s3_server import s3_server
from tests.faults.disks import fill, small_disk
from tests.study.studies import line, open_study, plain, train


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
def killed(tmp_path):
    """A study whose writer died after six trials."""
    folder = tmp_path / "killed"
    study = open_study(folder, n_trials=7)
    for n in range(6):
        train(study, study.ask(f"s/{n}").spec)
    records = study.records()
    # The process is gone, nothing is closed: as the files lie after SIGKILL.
    left = tmp_path / "left"
    shutil.copytree(folder, left)
    study.close()
    forget_holder(left)
    return left, records


def forget_holder(folder: Path) -> None:
    """This process, which still lives."""
    lease.lease_of(folder / "study.journal").unlink()


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
        flip_a_bit(folder / "study.journal", random.Random(seed))
        found, notes = contents(folder)
        silent += found != records and not notes
    return silent


def test_a_flipped_bit_never_changes_a_trial_silently(ended, tmp_path):
    assert flips_that_change_a_trial(ended, tmp_path) == 0


def test_without_the_checksums_flipped_bits_would_pass(ended, tmp_path, monkeypatch):
    """Sabotage twin: a changed value is a JSON line as before."""
    source, records = ended
    folder = tmp_path / "flipped"
    shutil.copytree(source, folder)
    flip_study(folder, random.Random(1))
    shutil.copytree(folder, tmp_path / "again")

    def unchecked(previous, body):
        return next(sums)

    lines = (folder / "study.journal").read_bytes().splitlines()
    sums = iter([line[-18:-2].decode() for line in lines] * 9)
    monkeypatch.setattr(checked_lines, "checksum", unchecked)
    merged = checked_lines.merge((folder / "study.journal").read_bytes(), b"")
    monkeypatch.undo()
    assert merged.data == (folder / "study.journal").read_bytes(), "it was not taken as it is"
    assert plain(folder / "study.journal").trials != plain(source / "study.journal").trials
    found, notes = contents(tmp_path / "again")
    assert found == records
    assert any("was restored from study.copy.journal" in note for note in notes)


DAMAGES = ["torn", "zeros", "emptied", "deleted", "text", "shortened", "cut", "one bit", "both"]


@pytest.mark.parametrize("damage", DAMAGES)
def test_everything_acknowledged_comes_back(killed, damage):
    folder, records = killed
    study = folder / "study.journal"
    content = study.read_bytes()
    ends = [end.size for end in checked_lines.commits(content)]
    if damage == "torn":
        os.truncate(study, len(content) // 2 + 100)
    elif damage == "zeros":
        study.write_bytes(bytes(len(content)))
    elif damage == "emptied":
        study.write_bytes(b"")
    elif damage == "deleted":
        study.unlink()
    elif damage == "text":
        study.write_text("no journal")
    elif damage == "shortened":
        # Every line that is left is whole: Optuna alone would open it without a word.
        os.truncate(study, ends[len(ends) // 2])
    elif damage == "cut":
        study.write_bytes(content[: ends[3]] + content[ends[5] :])
    elif damage == "one bit":
        flip_study(folder, random.Random(0))
    elif damage == "both":
        # Each file has lost another part.
        flip_study(folder, random.Random(0))
        copy = bytearray(content)
        copy[ends[-2] + 20] ^= 1
        (folder / "study.copy.journal").write_bytes(copy)
    found, notes = contents(folder)
    assert found == records
    assert any("was restored from study.copy.journal" in note for note in notes)
    again, notes = contents(folder)
    assert again == records
    assert notes == []


@pytest.mark.parametrize("kept", [0, 1, 40, -1])
def test_a_commit_that_was_cut_off_is_removed_whole_and_nothing_is_said_of_it(killed, kept):
    """The process died while it wrote: nothing was acknowledged of that commit."""
    folder, records = killed
    path = folder / "study.journal"
    begun = path.read_bytes()
    study = open_study(folder, n_trials=7, session="t")
    study.ask("t/0")  # some lines in one commit
    study.close()
    commit = path.read_bytes()[len(begun) :]
    assert commit.count(b"\n") > 1
    last = commit[:-1].rfind(b"\n") + 1
    path.write_bytes(begun + commit[: last if kept == 0 else kept])
    (folder / "study.copy.journal").write_bytes(begun)
    found, notes = contents(folder)
    assert notes == []
    assert found == records
    assert path.read_bytes().startswith(begun)


@pytest.mark.parametrize("running", [True, False])
def test_what_another_program_appends_is_removed_and_said(tmp_path, running):
    """As a note made in optuna-dashboard."""
    study = open_study(tmp_path)
    spec = study.ask("s/a").spec
    if not running:
        study.close()
    foreign = plain(tmp_path / "study.journal")
    for n in range(20):
        foreign._storage.set_study_system_attr(0, f"dashboard:note{n}", "x" * 500)
    if not running:
        study = open_study(tmp_path)
    study.report([line(spec.number, 1, 0.5)])
    said = [note for note in study.notes() if "another program" in note]
    assert said == [
        "study.journal had 20 lines that another program wrote (such as a note made in "
        "optuna-dashboard): removed, because a study has one writer."
    ]
    study.close()
    found = plain(tmp_path / "study.journal")
    assert not any("note" in key for key in found._storage.get_study_system_attrs(0))
    assert found.trials[0].intermediate_values == {1: 0.5}
    again = open_study(tmp_path)
    assert again.notes() == []
    again.close()


def test_a_commit_that_both_files_lost_is_said(killed):
    folder, records = killed
    (folder / "study.journal").unlink()
    copy = folder / "study.copy.journal"
    lines = copy.read_text().splitlines(keepends=True)
    copy.write_text("".join(lines[:9]) + lines[9][:40] + "\n" + "".join(lines[10:]))
    found, notes = contents(folder)
    assert any("commits after it are lost and their work is done again" in n for n in notes)
    assert found == records[: len(found)]


@pytest.mark.parametrize("what", ["no copy", "damaged copy", "checkpoints only"])
def test_what_cannot_be_made_good_is_refused(ended, tmp_path, what):
    folder = tmp_path / "run"
    shutil.copytree(ended[0], folder)
    (folder / "study.journal").write_bytes(b"broken" * 1000)
    if what == "damaged copy":
        (folder / "study.copy.journal").write_bytes(b"broken" * 1000)
    else:
        (folder / "study.copy.journal").unlink()
    if what == "checkpoints only":
        (folder / "study.journal").unlink()
        (folder / "checkpoints" / "trial-0000").mkdir(parents=True)
    with pytest.raises(StorageError, match=r"study\.journal.*no good copy.*Restore it"):
        open_study(folder)


@pytest.mark.parametrize(
    "line",
    [
        {"op_code": 99},
        {"op_code": 4},
        {"op_code": 8, "trial_id": 0, "user_attr": 3},
        {"op_code": 0, "worker_id": "x", "study_name": "other", "directions": [7]},
    ],
)
def test_operations_that_nobody_could_have_written_are_one_sentence(ended, tmp_path, line):
    """Whoever may write the folder can make the checksums anew."""
    shutil.copytree(ended[0], tmp_path / "run")
    study = tmp_path / "run" / "study.journal"
    *_, end = checked_lines.commits(study.read_bytes())
    more, _ = checked_lines.encode([json.dumps(line, separators=(",", ":")).encode()], end)
    study.write_bytes(study.read_bytes() + more)
    with pytest.raises(StorageError, match="must be intact"):
        open_study(tmp_path / "run")


def test_a_commit_whose_outcome_is_unknown_may_be_made_again(tmp_path):
    study = open_study(tmp_path)
    spec = study.ask("s/a").spec
    study.report([line(spec.number, 1, 0.5)])
    journal = study._journal
    study._storage.set_trial_user_attr(spec.number, "x", 1)
    journal.seal()
    data, _ = checked_lines.encode(journal._backend.sealed(), journal._end)
    journal._write_once(data)
    journal._write_once(data)
    study.finish(TrialOutcome(spec.number, "complete", value=0.5))
    records = study.records()
    study.close()
    assert contents(tmp_path) == (records, [])


def test_a_full_disk_is_waited_for_and_nothing_acknowledged_is_lost(tmp_path):
    with small_disk(tmp_path / "disk", 400) as disk:
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
        study._journal._close_files()
        subprocess.run(["mount", "-o", "remount,size=8M", str(disk)], check=True)
        forget_holder(disk / "run")
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
            "the store refuses (no space left on device): trying again, 0 of 30 s"
        )
        assert said[-1] is None
        assert len(study.records()[0].curve) >= 1
        study.close()


def test_a_folder_that_vanishes_is_noticed(tmp_path):
    """A file that was deleted can be written to without an error."""
    study = open_study(tmp_path / "run", patience_s=0.5)
    spec = study.ask("s/a").spec
    os.rename(tmp_path / "run", tmp_path / "gone")
    with pytest.raises(StorageError, match="must be writable"):
        study.report([line(spec.number, 1, 0.1)])
    study._journal._close_files()


def test_a_copy_that_was_removed_is_made_anew(tmp_path, monkeypatch):
    monkeypatch.setattr(journal_file, "SYNC_COPY_S", 0.0)
    study = open_study(tmp_path)
    copy = tmp_path / "study.copy.journal"
    train(study, study.ask("s/a").spec)
    copy.unlink()
    train(study, study.ask("s/b").spec)
    assert copy.read_bytes() == (tmp_path / "study.journal").read_bytes()
    study.close()


def test_a_study_torn_before_its_first_few_seconds_are_over_is_made_good(tmp_path):
    """The copy is there from the first commit on."""
    study = open_study(tmp_path / "run")
    spec = study.ask("s/a").spec
    study.report([line(spec.number, 1, 0.1)])
    shutil.copytree(tmp_path / "run", tmp_path / "torn")  # as SIGKILL leaves it
    study.close()
    forget_holder(tmp_path / "torn")
    truncate_study(tmp_path / "torn", random.Random(0))
    again = open_study(tmp_path / "torn", session="again")
    assert any("was restored from study.copy.journal" in note for note in again.notes())
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
        forget_holder(folder.path)
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
        found, notes = contents(folder.path)
        assert found == records
        if damage == "everything lost":
            assert "continuing the study in" in said
        else:
            assert said is None
            assert "was restored from study.copy.journal" in notes[0]
