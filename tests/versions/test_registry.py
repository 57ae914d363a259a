"""Versions in a folder and in a bucket: what is opened is what was registered, or is refused."""

import os
import signal
import threading
import time

import numpy as np
import pytest

import jamba_ray
from jamba_ray.errors import ConfigError, GateError, NoRunError, RegistryError, StorageError
from jamba_ray.versions import actions, listing
from jamba_ray.versions.content import PASSPORT
from jamba_ray.versions.model_log import ModelLog
from jamba_ray.versions.opening import open_version
from jamba_ray.versions.place import FolderPlace
from jamba_ray.versions.reference import parse_reference
from jamba_ray.versions.verifying import verified
from tests.versions.conftest import bucket_place, promote, register, scores_of


def opened(place, reference):
    return open_version(place, parse_reference(reference))


def test_a_version_is_the_run_and_a_rollback_is_the_version_before(place, runs):
    register(place, runs / "a")
    register(place, runs / "b")
    promote(place, 1)
    first = opened(place, "threats@champion")
    bytes_of = {p.name: p.read_bytes() for p in first.folder.iterdir()}
    assert bytes_of == {p.name: p.read_bytes() for p in (runs / "a" / "best").iterdir()}
    assert (first.number, first.alias, first.exports) == (1, "champion", {})
    assert first.passport["metadata"]["component"]["name"] == "threats"
    promote(place, 2)
    assert opened(place, "threats@champion").number == 2
    assert opened(place, "threats@1").folder == first.folder
    before, entry = actions.rollback(place, "threats", "champion", None, "too many alerts", None)
    assert (before, entry.version) == (2, 1)
    back = opened(place, "threats@champion")
    assert {p.name: p.read_bytes() for p in back.folder.iterdir()} == bytes_of
    own = scores_of(jamba_ray.load(runs / "a"))
    assert np.array_equal(scores_of(jamba_ray.load(back.folder)), own)
    assert [row[3] for row in listing.history(place, "threats")][
        -1
    ] == "rollback version 1 as champion"
    assert len(verified(place, None, None)) == 1


def test_the_past_can_be_asked(place, runs, monkeypatch):
    register(place, runs / "a")
    times = []
    for number in (register(place, runs / "b").version, 1):
        times.append(promote(place, number).at)
    assert listing.held_at(place, "threats", times[0]) == {"champion": 2}
    assert listing.held_at(place, "threats", times[1]) == {"champion": 1}
    assert listing.held_at(place, "threats", times[1][:10]) == {"champion": 1}
    assert listing.held_at(place, "threats", "2020-01-01") == {}


def test_of_two_promotions_that_judged_the_same_champion_one_is_told(place, runs):
    register(place, runs / "a")
    register(place, runs / "b")
    mine = actions.candidate(place, "threats", 1, "champion")
    theirs = actions.candidate(place, "threats", 2, "champion")
    actions.promote(theirs, [], None, "", None)
    with pytest.raises(GateError, match=r"judged against \(nothing\), but .* made it version 2"):
        actions.promote(mine, [], None, "", None)
    assert opened(place, "threats@champion").number == 2


def test_processes_that_promote_at_once_take_turns(place, runs, tmp_path, bucket_server):
    register(place, runs / "a")
    register(place, runs / "b")
    told, barrier = [], threading.Barrier(4)

    def go(i):
        own = place
        if not isinstance(place, FolderPlace):  # each as a process of its own
            own = bucket_place(bucket_server[0], tmp_path.name)
        mine = actions.candidate(own, "threats", 1 + i % 2, "champion")
        barrier.wait()
        try:
            told.append(actions.promote(mine, [], None, "", None).version)
        except GateError as error:
            told.append(error.message)

    threads = [threading.Thread(target=go, args=(i,)) for i in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    won = [one for one in told if isinstance(one, int)]
    assert len(won) == 1, told
    assert len(told) == 4
    assert opened(place, "threats@champion").number == won[0]


def test_of_two_processes_that_promote_at_once_one_wins(runs, tmp_path):
    place = FolderPlace(tmp_path / "registry")
    register(place, runs / "a")
    register(place, runs / "b")
    both = [actions.candidate(place, "threats", number, "champion") for number in (1, 2)]
    children, (wait, go) = {}, os.pipe()
    for one in both:
        child = os.fork()
        if child == 0:
            code = 7
            try:
                os.close(go)
                os.read(wait, 1)  # ends when the parent closes its side
                actions.promote(one, [], None, "", None)
                code = 0
            except GateError as error:
                code = error.exit_code
            finally:
                os._exit(code)
        children[child] = one.version.number
    os.close(go)
    os.close(wait)
    codes = {n: os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid, n in children.items()}
    assert sorted(codes.values()) == [0, 5]
    assert codes[opened(place, "threats@champion").number] == 0
    assert len(ModelLog(place, "threats").log.entries) == 3


def test_a_kill_at_any_write_leaves_the_old_or_the_new(runs, tmp_path):
    """Kills a process of its own with SIGKILL before and after each file that a promotion
    writes."""
    place = FolderPlace(tmp_path / "registry")
    register(place, runs / "a")
    register(place, runs / "b")
    promote(place, 1)
    seen = set()
    for k in range(4):
        mine = actions.candidate(place, "threats", 2, "champion")
        child = os.fork()
        if child == 0:
            try:
                _kill_at(place, k)
                actions.promote(mine, [], None, "", None)
            finally:
                os._exit(7)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status)
        assert os.WTERMSIG(status) == signal.SIGKILL
        number = opened(place, "threats@champion").number
        seen.add(number)
        verified(place, None, None)
        if number == 2:  # what follows works, whatever was left
            actions.rollback(place, "threats", "champion", None, "", None)
        register(place, runs / "b")
        assert opened(place, "threats@champion").number == 1
    assert seen == {1, 2}
    assert ModelLog(place, "threats").log.pending == 0


def test_names_written_before_their_entry_would_be_neither_old_nor_new(runs, tmp_path):
    """The sabotage twin: with the two writes exchanged, a kill between them is found here."""
    place = FolderPlace(tmp_path / "registry")
    register(place, runs / "a")
    mine = actions.candidate(place, "threats", 1, "champion")
    write, held = place.write, []

    def exchanged(name, data):
        held.append((name, data))
        if len(held) == 2:
            write(*held[1])
            raise KeyboardInterrupt

    place.write = exchanged
    with pytest.raises(KeyboardInterrupt):
        actions.promote(mine, [], None, "", None)
    place.write = write
    with pytest.raises(RegistryError, match="but has 1: one was removed"):
        opened(place, "threats@champion")


def _kill_at(place, k):
    """Kills this process at the k-th moment: before, after the first write, after the second."""
    write, moments = place.write, iter(range(100))

    def killing(name, data):
        if next(moments) == k:
            os.kill(os.getpid(), signal.SIGKILL)
        write(name, data)
        if next(moments) == k:
            os.kill(os.getpid(), signal.SIGKILL)

    place.write = killing


def test_a_kill_while_a_version_is_added_leaves_none(runs, tmp_path, monkeypatch):
    place = FolderPlace(tmp_path / "registry")
    register(place, runs / "a")
    child = os.fork()
    if child == 0:
        try:
            os.rename = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
            register(place, runs / "b")
        finally:
            os._exit(7)
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL
    assert ModelLog(place, "threats").numbers() == [1]
    assert register(place, runs / "b").version == 2
    assert opened(place, "threats@2").number == 2


def test_every_file_of_a_version_is_checked(place, runs):
    register(place, runs / "a")
    promote(place, 1)
    names = place.names("threats/1")
    assert f"threats/1/{PASSPORT}" in names
    assert len(names) > 6
    for name in names:
        raw = place.read(name, 1 << 30)
        _overwrite(place, name, raw[:-9] + bytes([raw[-9] ^ 1]) + raw[-8:])
        with pytest.raises(RegistryError) as caught:
            opened(place, "threats@champion")
        assert name.rpartition("/")[2] in caught.value.message
        _overwrite(place, name, raw)
    assert opened(place, "threats@champion").number == 1
    _overwrite(place, "threats/1/model/thresholds.json", b"{}")
    with pytest.raises(RegistryError, match=r"holds 'model/thresholds.json' too"):
        opened(place, "threats@champion")


def _overwrite(place, name, raw):
    if isinstance(place, FolderPlace):
        path = place.root / name
        if path.exists():
            path.chmod(0o644)
        path.write_bytes(raw)
    else:
        place.write(name, raw)


def test_a_version_that_is_gone_or_unknown_is_said(place, runs):
    with pytest.raises(NoRunError, match="must hold the model 'threats'"):
        opened(place, "threats@champion")
    register(place, runs / "a")
    for reference, words in (
        ("threats@champion", "has none. Promote one"),
        ("threats@7", "must have a version 7, but has 1"),
        ("treats@1", "Did you mean `threats`"),
    ):
        with pytest.raises(NoRunError, match=words):
            opened(place, reference)
    promote(place, 1)
    with pytest.raises(ConfigError, match="already"):
        promote(place, 1)
    with pytest.raises(NoRunError, match="but was none before version 1"):
        actions.rollback(place, "threats", "champion", None, "", None)


def test_load_refuses_what_was_changed(runs, tmp_path):
    place = FolderPlace(tmp_path / "registry")
    register(place, runs / "a")
    promote(place, 1)
    own = scores_of(jamba_ray.load(runs / "a"))
    load = lambda: jamba_ray.load("threats@champion", registry=place.root)  # noqa: E731
    assert np.array_equal(scores_of(load()), own)
    _overwrite(place, "threats/audit.jsonl", place.read("threats/audit.jsonl", 1 << 20)[:-2])
    with pytest.raises(RegistryError, match="one was removed"):
        load()


def test_a_registry_that_was_put_back_is_found_by_its_head(runs, tmp_path):
    place = FolderPlace(tmp_path / "registry")
    register(place, runs / "a")
    old = {name: place.read(f"threats/{name}", 1 << 20) for name in ("audit.jsonl", "aliases.json")}
    promote(place, 1)
    head = ModelLog(place, "threats").log.head
    assert verified(place, "threats", head)
    for name, raw in old.items():
        _overwrite(place, f"threats/{name}", raw)
    assert verified(place, "threats", None), "nothing else can tell"
    with pytest.raises(RegistryError, match="put back to an older state"):
        verified(place, "threats", head)


@pytest.mark.slow
def test_a_place_in_the_queue_of_a_dead_process_is_taken(
    runs, tmp_path, monkeypatch, bucket_server
):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")
    now = [0.0]

    def sleep(seconds):
        now[0] += 10 * seconds
        time.sleep(0)

    place = bucket_place(bucket_server[0], tmp_path.name, sleep=sleep, clock=lambda: now[0])
    dead = bucket_place(bucket_server[0], tmp_path.name)
    dead._remote.write("threats/.queue/000000000001-dead", b"1")
    register(place, runs / "a")
    assert now[0] >= 60
    assert ModelLog(place, "threats").numbers() == [1]
    with dead.locked("threats"):
        for name in dead._remote.names("threats/.queue"):
            dead._remote.delete(name)  # as who waits for it does, after a minute of silence
        with pytest.raises(StorageError, match="another one took over"):
            dead.write("threats/aliases.json", b"{}")
