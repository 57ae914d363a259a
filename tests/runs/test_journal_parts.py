"""The journal in a bucket: parts that follow one another, and what may have happened to them."""

from __future__ import annotations

import pytest

from jamba_ray.checkpoints import RemoteFolder
from jamba_ray.config.store_uri import StoreUri
from jamba_ray.errors import StorageError
from jamba_ray.runs import journal_parts
from jamba_ray.runs.checked_lines import Position, commits, encode
from jamba_ray.runs.journal_parts import JournalParts


@pytest.fixture
def remote(bucket_server, tmp_path, monkeypatch):
    monkeypatch.setattr(journal_parts, "_PART_BYTES", 1000)
    bucket_server[1].requests.clear()
    uri = StoreUri("s3", f"bucket/{tmp_path.name.replace('_', '-')}")
    return RemoteFolder(uri, bucket_server[0])


class Journal:
    """A file of checked lines that grows."""

    def __init__(self, path, history="a"):
        self.path, self.end, self.history = path, Position(), history
        path.write_bytes(b"")

    def grow(self, n):
        for _ in range(n):
            line = b'{"history":"%s","text":"%s"}' % (self.history.encode(), b"x" * 100)
            data, self.end = encode([line, line], self.end)
            with self.path.open("ab") as file:
                file.write(data)

    @property
    def data(self):
        return self.path.read_bytes()


def test_what_is_appended_goes_in_parts_that_are_written_few_times(tmp_path, remote, bucket_server):
    journal = Journal(tmp_path / "j")
    parts = JournalParts(journal.path, remote)
    for _ in range(40):
        journal.grow(1)
        parts.push()
        assert remote.read(remote.names("study")[-1], 10**6)
    puts = [path for method, path in bucket_server[1].requests if method == "PUT"]
    assert len(puts) == 40
    assert len(set(puts)) == len(remote.names("study")) >= 8
    assert parts.read() == journal.data
    assert parts.n_commits() == 40
    parts.push()
    assert len([m for m, _ in bucket_server[1].requests if m == "PUT"]) == 40, "nothing was new"


def test_a_commit_that_is_being_written_is_not_copied(tmp_path, remote):
    journal = Journal(tmp_path / "j")
    parts = JournalParts(journal.path, remote)
    journal.grow(3)
    whole = journal.data
    journal.grow(1)
    journal.path.write_bytes(journal.data[:-40])
    parts.push()
    assert parts.read() == whole


def test_a_later_session_goes_on(tmp_path, remote):
    journal = Journal(tmp_path / "j")
    journal.grow(20)
    JournalParts(journal.path, remote).push()
    journal.grow(5)
    later = JournalParts(journal.path, remote)
    later.push()
    assert later.read() == journal.data


def test_another_history_replaces_all_parts(tmp_path, remote):
    """A run that was begun anew, or went another way after both files were damaged."""
    old = Journal(tmp_path / "a", "a")
    old.grow(30)
    JournalParts(old.path, remote).push()
    other = Journal(tmp_path / "b", "b")
    other.grow(10)
    parts = JournalParts(other.path, remote)
    parts.push()
    assert parts.read() == other.data
    assert parts.n_commits() == 10


def test_a_journal_that_lost_commits_is_copied_as_it_is(tmp_path, remote):
    journal = Journal(tmp_path / "j")
    journal.grow(30)
    parts = JournalParts(journal.path, remote)
    parts.push()
    journal.path.write_bytes(journal.data[: list(commits(journal.data))[10].size])
    parts.push()
    assert parts.read() == journal.data


@pytest.mark.parametrize("damage", ["missing", "changed", "foreign"])
def test_a_damaged_part_ends_what_can_be_read(tmp_path, remote, damage):
    journal = Journal(tmp_path / "j")
    journal.grow(30)
    parts = JournalParts(journal.path, remote)
    parts.push()
    names = remote.names("study")
    if damage == "missing":
        remote.delete(names[2])
    elif damage == "changed":
        content = remote.read(names[2], 10**6)
        remote.write(names[2], content.replace(b"xxx", b"xyx", 1))
    else:
        remote.write(names[2], b"\x80\x04." * 500)
    found = parts.read()
    start = int(names[2].removeprefix("study/").removesuffix(".jsonl"))
    assert found == journal.data[: len(found)]
    assert len(found) == start
    assert parts.n_commits() == 30


def test_a_store_that_refuses_is_tried_again(tmp_path, remote, bucket_server):
    journal = Journal(tmp_path / "j")
    journal.grow(12)
    parts = JournalParts(journal.path, remote)
    n = 0

    def third(method, path):
        nonlocal n
        n += method == "PUT"
        return (403, "AccessDenied") if method == "PUT" and n == 3 else None

    bucket_server[1].plan = third
    try:
        with pytest.raises(StorageError, match="Check the bucket"):
            parts.push()
    finally:
        bucket_server[1].plan = lambda method, path: None
    journal.grow(3)
    parts.push()
    assert parts.read() == journal.data
