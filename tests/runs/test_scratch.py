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


def test_what_a_link_leads_to_stays(temporary):
    """A folder or an owner that is a link, and links inside of an abandoned one."""
    outside = temporary / "outside"
    (outside / "sub").mkdir(parents=True)
    for name in ("owner", "sub/precious"):
        (outside / name).write_text("x")
    (temporary / "jr-1-link").symlink_to(outside)
    linked = temporary / "jr-2-owner"
    linked.mkdir()
    (linked / "owner").symlink_to(outside / "owner")
    (linked / "mine").write_text("x")
    left = temporary / "jr-3-left"
    left.mkdir()
    (left / "owner").write_text("")
    (left / "ray").symlink_to(outside / "sub")
    delete_abandoned(temporary)
    assert (outside / "owner").exists()
    assert (outside / "sub" / "precious").exists()
    assert (linked / "mine").exists()
    assert not left.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files to another user")
@pytest.mark.parametrize("whose", ["", "owner"])
def test_what_another_user_owns_stays(temporary, whose):
    folder = temporary / "jr-4-theirs"
    folder.mkdir()
    for name in ("owner", "precious"):
        (folder / name).write_text("x")
    os.chown(folder / whose, 12345, 12345)
    delete_abandoned(temporary)
    assert (folder / "precious").exists()


def test_a_pipe_as_owner_holds_nobody_up(temporary):
    folder = temporary / "jr-5-pipe"
    folder.mkdir()
    os.mkfifo(folder / "owner")
    delete_abandoned(temporary)
