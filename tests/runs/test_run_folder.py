"""The run folder: names that are used are refused, files appear whole."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys

import pytest

from jamba_ray.errors import RunExistsError, StorageError
from jamba_ray.runs.run_folder import RunFolder, unused_name, write_json


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


def test_overwriting_a_link_leaves_its_target(tmp_path):
    target = tmp_path / "precious"
    target.mkdir()
    (target / "file").write_text("x")
    link = tmp_path / "run"
    link.symlink_to(target)
    RunFolder(link).create(overwrite=True)
    assert (target / "file").read_text() == "x"
    assert not link.is_symlink()


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
