"""What a killed process left is deleted by the next one; what lives, or is not ours, stays."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile

import pytest

from jamba_ray.runs.scratch import LONGEST_BELOW, delete_abandoned, scratch_folder

HOLDER = """
from jamba_ray.runs.scratch import scratch_folder
with scratch_folder() as folder:
    (folder / "ray").mkdir()
    (folder / "ray" / "log").write_text("x")
    print(folder, flush=True)
    input()
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def holder(temporary) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", HOLDER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(temporary)},
    )


def test_it_is_deleted_when_its_process_ends(temporary):
    with scratch_folder() as folder:
        (folder / "ray").mkdir()
        assert folder.parent == temporary
        assert folder.name.startswith(f"jr-{os.getpid()}-")
        # Ray's sockets lie below it, and their paths may have 107 bytes.
        session = "session_2026-11-28_15-10-57_641123_4194304"
        below = f"/jr-4194304-{folder.name[-8:]}/ray/{session}/sockets/plasma_store"
        assert LONGEST_BELOW + len(below) == 107
    assert list(temporary.iterdir()) == []


def test_what_a_killed_process_left_is_deleted_and_what_lives_stays(temporary):
    others = temporary / "jr-of-another-version"
    others.mkdir()
    with holder(temporary) as killed, holder(temporary) as living:
        left, alive = killed.stdout.readline().strip(), living.stdout.readline().strip()
        killed.kill()
        killed.wait()
        assert os.path.exists(left)
        with scratch_folder():
            assert not os.path.exists(left)
            assert os.path.exists(os.path.join(alive, "ray", "log"))
            assert others.exists()
        living.communicate("\n")
    assert list(temporary.iterdir()) == [others]


def test_what_cannot_be_deleted_yet_is_deleted_later(temporary, monkeypatch):
    import shutil

    with holder(temporary) as killed:
        left = killed.stdout.readline().strip()
        killed.kill()
    rmtree = shutil.rmtree

    def busy(path, **options):
        raise OSError("Directory not empty")

    monkeypatch.setattr(shutil, "rmtree", busy)
    delete_abandoned(temporary)
    assert os.path.exists(os.path.join(left, "owner"))
    monkeypatch.setattr(shutil, "rmtree", rmtree)
    delete_abandoned(temporary)
    assert not os.path.exists(left)
