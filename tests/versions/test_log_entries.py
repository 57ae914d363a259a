"""A model's log: what an entry says, and every way of changing the past is found."""

import dataclasses
import json

import pytest

from jamba_ray.errors import RegistryError
from jamba_ray.versions.log_entries import Entry, Log, aliases_at, genesis, line_digest, read_log
from jamba_ray.versions.reference import is_reference, parse_reference

WHERE = "models/registry/threats"


def entry(log, action, version=None, alias=None, **more):
    return Entry(
        number=len(log.entries) + 1,
        name=log.name,
        action=action,
        version=version,
        digest=f"{version:064d}" if version else None,
        alias=alias,
        by="ann",
        at=f"2026-03-{len(log.entries) + 1:02d}T10:00:00.000+00:00",
        previous=log.head,
        **more,
    )


def log_of(*steps, name="threats"):
    log = Log(name)
    for action, version, alias in steps:
        log = log.with_entry(entry(log, action, version, alias))
    return log


STEPS = (
    ("register", 1, None),
    ("promote", 1, "champion"),
    ("register", 2, None),
    ("promote", 2, "champion"),
    ("rollback", 1, "champion"),
)


@pytest.fixture
def log():
    return log_of(*STEPS)


def test_what_was_written_is_read(log):
    found = read_log("threats", log.audit(), log.pointer(), WHERE)
    assert found == log
    assert found.aliases == {"champion": 1}
    assert found.setter_of("champion").action == "rollback"
    assert json.loads(found.lines[0])["previous"] == genesis("threats")


def test_the_past_is_known(log):
    assert aliases_at(log.entries, "2026-03-01~") == {}
    assert aliases_at(log.entries, "2026-03-02~") == {"champion": 1}
    assert aliases_at(log.entries, "2026-03-04T09~") == {"champion": 1}
    assert aliases_at(log.entries, "2026-03-04T10~") == {"champion": 2}
    assert aliases_at(log.entries, "2026-03-09~") == {"champion": 1}


def tampered(log, how):
    lines = list(log.lines)
    if how == "removed":
        del lines[1]
    elif how == "first removed":
        del lines[0]
    elif how == "last removed":
        del lines[-1]
    elif how == "moved":
        lines[2], lines[3] = lines[3], lines[2]
    elif how == "changed":
        lines[1] = lines[1].replace(b'"by":"ann"', b'"by":"bob"')
    elif how == "written again":  # with the chain mended: only the head says so
        again = log_of(*STEPS[:4], ("rollback", 2, "champion"))
        lines = list(again.lines)
    elif how == "of another":
        lines = list(log_of(*STEPS, name="other").lines)
    return b"".join(line + b"\n" for line in lines)


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("removed", "one was removed"),
        ("first removed", "one was removed"),
        ("last removed", "one was removed"),
        ("moved", "entry 3 must follow the one before it"),
        ("changed", "entry 3 must follow the one before it"),
        ("written again", "entry 5 must be the one that aliases.json points at"),
        ("of another", "entry 1 must follow"),
    ],
)
def test_a_changed_past_is_refused(log, how, words):
    with pytest.raises(RegistryError, match=words):
        read_log("threats", tampered(log, how), log.pointer(), WHERE)


def test_each_line_that_is_removed_from_the_middle_is_found_with_another_added(log):
    more = log.with_entry(entry(log, "promote", 2, "champion"))
    for i in range(len(STEPS)):
        lines = [*more.lines[:i], *more.lines[i + 1 :], more.lines[-1]]
        raw = b"".join(line + b"\n" for line in lines)
        with pytest.raises(RegistryError):
            read_log("threats", raw, more.pointer(), WHERE)


def test_each_flipped_byte_of_the_log_is_found(log):
    audit, pointer = log.audit(), log.pointer()
    for i in range(0, len(audit), 7):
        bad = audit[:i] + bytes([audit[i] ^ 4]) + audit[i + 1 :]
        with pytest.raises(RegistryError):
            read_log("threats", bad, pointer, WHERE)


def test_names_that_the_entries_do_not_make_are_refused(log):
    tree = json.loads(log.pointer())
    tree["aliases"]["champion"] = 2
    with pytest.raises(RegistryError, match=r"entries make \(champion 1\), but says champion 2"):
        read_log("threats", log.audit(), json.dumps(tree).encode(), WHERE)


def test_names_that_were_removed_are_missed(log):
    with pytest.raises(RegistryError, match="must count the 5 entries"):
        read_log("threats", log.audit(), None, WHERE)


def test_a_line_of_a_killed_process_means_nothing(log):
    more = log.with_entry(entry(log, "promote", 2, "champion"))
    for extra in (more.lines[-1] + b"\n", more.lines[-1][:40], b""):
        found = read_log("threats", log.audit() + extra, log.pointer(), WHERE)
        assert found.aliases == {"champion": 1}
        assert found.pending == bool(extra)
        assert found.audit() == log.audit()


def test_a_signature_is_of_everything_else_in_the_entry(log):
    one = log.entries[1]
    assert dataclasses.replace(one, signature="x").signed_bytes() == one.signed_bytes()
    for name in ("version", "alias", "by", "at", "why", "force", "roles", "previous", "key"):
        other = dataclasses.replace(one, **{name: "another"})
        assert other.signed_bytes() != one.signed_bytes(), name
    assert line_digest(one.line()) == log.entries[2].previous


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        ([("register", 1, None), ("register", 1, None)], "finds version 1 registered"),
        ([("promote", 1, "champion")], "finds version 1 unknown"),
    ],
)
def test_a_version_is_registered_once_and_first(steps, words):
    log = log_of(*steps)
    with pytest.raises(RegistryError, match=words):
        read_log("threats", log.audit(), log.pointer(), WHERE)


def test_no_entry_puts_another_content_behind_a_number(log):
    other = dataclasses.replace(entry(log, "promote", 2, "champion"), digest="0" * 64)
    more = log.with_entry(other)
    with pytest.raises(RegistryError, match="but is of another content"):
        read_log("threats", more.audit(), more.pointer(), WHERE)


@pytest.mark.parametrize("text", ["threats@champion", "threats@3", "a.b-c_1@x"])
def test_references(text):
    assert is_reference(text)
    assert str(parse_reference(text)) == text


@pytest.mark.parametrize(
    "text", ["runs/a", "runs/a@b", "s3://b/x@y", "@3", "a@", "../a@3", "a@b@c"]
)
def test_no_references(text):
    assert not is_reference(text)
