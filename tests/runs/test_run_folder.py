"""The run folder: names that are used are refused, files appear whole."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys

import pytest

from jamba_ray.errors import RunExistsError, StorageError
from jamba_ray.runs import run_folder
from jamba_ray.runs.file_writes import RunLog, append_log, open_log, write_json
from jamba_ray.runs.row_log import RowLog, row_file, take_rows
from jamba_ray.runs.run_folder import RunFolder, unused_name


def test_a_used_name_is_refused_with_both_ways_out(tmp_path):
    folder = RunFolder(tmp_path / "run").create()
    with pytest.raises(RunExistsError) as caught:
        folder.create()
    assert "`resume=true`" in caught.value.message
    assert "`overwrite=true`" in caught.value.message


def test_resume_keeps_and_overwrite_deletes(tmp_path):
    folder = RunFolder(tmp_path / "run").create()
    folder.study.write_text("x")
    folder.create(resume=True)
    assert folder.study.exists()
    folder.create(resume=True, overwrite=True)
    assert folder.study.exists(), "resume must win over overwrite: nothing is lost by it"
    folder.create(overwrite=True)
    assert not folder.study.exists()
    assert folder.checkpoints.is_dir()


def test_an_empty_folder_is_no_run(tmp_path):
    (tmp_path / "run").mkdir()
    RunFolder(tmp_path / "run").create()


def test_overwriting_a_link_is_refused_and_leaves_its_target(tmp_path):
    target = RunFolder(tmp_path / "precious").create()
    target.summary.write_text("x")
    link = tmp_path / "run"
    link.symlink_to(target.path)
    with pytest.raises(RunExistsError, match="not wholly a run: it is a link"):
        RunFolder(link).create(overwrite=True)
    assert link.is_symlink()
    assert target.summary.read_text() == "x"


WHOLE = [
    *("config.yaml", "study.db", "study.db-wal", "study.copy.db", "study.redo", "log.txt"),
    *("study.journal", "study.copy.journal", "study.lease", ".study.journal.a1b2c3d4"),
    *("study.journal.damaged-20261128-120000", "study.db.imported"),
    *("study.db.damaged-20261128-120000", "study.db.replaced-20261128-120000"),
    *(".study.db.restored", ".study.db.4711.new", ".study.db.4711.new-journal", ".study.copy.db"),
    *("trials.parquet", "summary.json", ".summary.json.a8_bcd9z", "scores.parquet"),
    *("report.html", "report.md", "tracking.json", "dashboard.json", "rows/trial-0007.jsonl"),
    *("logs/runner-host.example.org-12.log", "logs/tracking.log", "best/manifest.json"),
    *("best/model.safetensors", "best/preprocessing.json", "best/current.txt"),
    *("checkpoints/trial-0000/step-000012/state.json", "checkpoints/trial-12345/best-000001/x.y"),
    *("checkpoints/trial-0000/.scratch.ab.1.cd/state.json", ".scratch.ab.1.cd/config.json"),
    *("wandb/offline-run-1/files/a b/c.json", "wandb/.partial-x/y", "tensorboard/t/events.out.1"),
]


def filled(folder, names):
    for name in names:
        (folder.path / name).parent.mkdir(parents=True, exist_ok=True)
        (folder.path / name).write_text("x")


def content(path):
    return {p.relative_to(path).as_posix(): p.is_file() and p.read_text() for p in path.rglob("*")}


def test_whatever_a_run_holds_may_be_replaced_and_nothing_of_it_stays(tmp_path):
    folder = RunFolder(tmp_path / "run").create()
    filled(folder, WHOLE)
    folder.create(overwrite=True)
    assert set(content(folder.path)) == {"checkpoints", "logs"}
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize(
    ("stranger", "made"),
    [
        ("thesis.tex", True),
        ("notes/a.txt", True),
        (".git/config", True),
        ("logs/a/b.log", True),
        ("logs/thesis.tex", True),
        ("best/thesis.doc", True),
        ("rows/mine.csv", True),
        ("checkpoints/last.ckpt", True),
        ("checkpoints/trial-0000/mine/x", True),
        ("config.yaml.bak", True),
        ("report.md", False),  # a project of somebody's own
        ("config.yaml", False),
        ("study.db", False),
        ("wandb/run-1/x", False),
        ("best/model.txt", False),
    ],
)
def test_what_is_not_wholly_a_run_is_never_replaced(tmp_path, stranger, made):
    folder = RunFolder(tmp_path / "run")
    if made:
        filled(folder.create(), WHOLE)
    filled(folder, [stranger])
    before = content(tmp_path)
    for refuse in (folder.refuse_if_used, folder.create):
        with pytest.raises(RunExistsError, match="must replace a run and nothing else") as caught:
            refuse(overwrite=True)
        assert "\n" not in caught.value.message
        assert not made or stranger.partition("/")[0] in caught.value.message
    assert content(tmp_path) == before


def test_a_link_inside_is_not_a_runs(tmp_path):
    folder = RunFolder(tmp_path / "run").create()
    (tmp_path / "elsewhere").mkdir()
    (folder.path / "best").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RunExistsError, match="'best'"):
        folder.create(overwrite=True)


def test_a_file_of_that_name_is_not_replaced(tmp_path):
    (tmp_path / "run").write_text("x")
    with pytest.raises(RunExistsError, match="it is a file"):
        RunFolder(tmp_path / "run").create(overwrite=True)
    assert (tmp_path / "run").read_text() == "x"


def test_a_process_that_is_killed_while_it_overwrites_leaves_no_half_run(tmp_path, monkeypatch):
    folder = RunFolder(tmp_path / "run").create()
    filled(folder, WHOLE)
    before = content(folder.path)

    def killed(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(run_folder.shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        folder.create(overwrite=True)
    monkeypatch.undo()
    assert set(content(folder.path)) == {"checkpoints", "logs"}
    (aside,) = [path for path in tmp_path.iterdir() if path.name.startswith(".")]
    assert content(aside) == before
    folder.create(overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match=r"`store=`"):
        RunFolder(tmp_path / "file" / "run").create()


@pytest.mark.parametrize("value", [math.nan, math.inf, {"a": [-math.inf]}])
def test_json_is_strict_and_a_refused_value_leaves_the_old_file(tmp_path, value):
    path = tmp_path / "summary.json"
    write_json(path, {"a": 1})
    with pytest.raises(ValueError):
        write_json(path, value)
    assert json.loads(path.read_text()) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["summary.json"]


def test_writing_to_a_lost_folder_says_so(tmp_path):
    with pytest.raises(StorageError, match="must be writable"):
        write_json(tmp_path / "gone" / "summary.json", {})


def named(store, *, then=""):
    """Names that four processes, begun together, give their runs."""
    code = f"from jamba_ray.runs.run_folder import *; print(unused_name('{store}', 'x')); {then}"
    processes = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    return [process.communicate()[0].strip() for process in processes]


def test_runs_begun_within_a_second_have_names_of_their_own(tmp_path):
    names = named(tmp_path, then="time.sleep(2)")
    assert len(set(names)) == 4, names
    assert all(re.fullmatch(r"x-\d{8}-\d{6}(-\d)?", name) for name in names)
    assert list(tmp_path.parent.glob("*/x-*")) == [], "nothing came of these runs"


def test_a_name_does_not_outlive_a_process_that_came_to_nothing(tmp_path):
    store = tmp_path / "store"
    named(store)
    assert not store.exists()
    named(store, then=f"RunFolder(Path('{store}') / 'kept').create(resume=True)")
    assert [path.name for path in store.iterdir()] == ["kept"]


def test_a_store_that_cannot_be_written_is_said_when_it_is(tmp_path):
    (tmp_path / "file").write_text("")
    name = unused_name(str(tmp_path / "file"), "x")
    with pytest.raises(StorageError, match="must be writable"):
        RunFolder(tmp_path / "file" / name).create()


@pytest.mark.parametrize("kind", ["link", "dangling link", "pipe"])
def test_lines_are_never_added_through_a_link_or_a_pipe(tmp_path, kind):
    victim, name = tmp_path / "victim", tmp_path / "log.txt"
    if kind == "pipe":
        os.mkfifo(name)
    else:
        name.symlink_to(victim)
    if kind == "link":
        victim.write_text("keep")
    RunLog(name).write("a line")  # a log must not end a run
    with pytest.raises(OSError):
        append_log(name, "x")
    with pytest.raises(StorageError, match="must be a plain file"):
        open_log(name)
    assert victim.read_text() == "keep" if kind == "link" else not victim.exists()


def test_rows_of_a_trial_are_never_added_through_a_link(tmp_path):
    rows = RowLog(tmp_path)
    victim = tmp_path / "victim"
    for write in (
        lambda: rows.append({"trial": 0, "step": 1}),
        lambda: take_rows(tmp_path, [b'{"trial": 0, "step": 1}']),
    ):
        path = row_file(tmp_path, 0)
        path.parent.mkdir(exist_ok=True)
        path.unlink(missing_ok=True)
        path.symlink_to(victim)
        write()
        assert not victim.exists()


def test_lines_are_added_to_a_plain_log(tmp_path):
    for _ in range(2):
        RunLog(tmp_path / "log.txt").write("a line")
    assert (tmp_path / "log.txt").read_text().count("a line\n") == 2
