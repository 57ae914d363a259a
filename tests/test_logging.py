"""A program that calls jamba_ray hears of it by ``logging``, and of nothing unless it asks."""

import subprocess
import sys

import pytest

from jamba_ray.config.data import TableSection
from tests.inference.conftest import make_frame

SCRIPT = """
import logging, sys
if sys.argv[1] != "quiet":
    logging.basicConfig(level=sys.argv[1], format="%(name)s %(levelname)s %(message)s")
from jamba_ray.config.data import TableSection
from jamba_ray.data import prepare
from jamba_ray.runs.refusal import retry_store
from jamba_ray.errors import StorageError
prepare(TableSection(path="flows.csv", rows_in="disk", cache="cache"))
def refused():
    raise StorageError("the disk is full.")
try:
    retry_store(refused, 0.3, lambda what: None)
except StorageError:
    pass
"""


@pytest.fixture
def said(tmp_path):
    make_frame(400, seed=1).to_csv(tmp_path / "flows.csv", index=False)

    def run(level):
        words = [sys.executable, "-c", SCRIPT, level]
        done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=True)
        assert done.stdout == ""
        return done.stderr

    return run


def test_nothing_is_printed_unless_it_is_asked_for(said):
    assert said("quiet") == ""
    heard = said("INFO")
    assert "jamba_ray.data.prepare INFO Rows are read in parts" in heard
    assert "jamba_ray.runs.refusal WARNING" in heard
    assert "jamba_ray.data" not in said("WARNING")


def test_rows_on_disk_lie_where_the_user_keeps_caches(monkeypatch):
    section = TableSection(path="flows.csv")
    monkeypatch.setenv("XDG_CACHE_HOME", "/big/cache")
    assert section.cache_folder == "/big/cache/jamba_ray"
    for ignored in ("", "relative/cache"):
        monkeypatch.setenv("XDG_CACHE_HOME", ignored)
        assert section.cache_folder == "~/.cache/jamba_ray"
    assert section.model_copy(update={"cache": "/mine"}).cache_folder == "/mine"
