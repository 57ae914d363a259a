"""The study's server in one process: many report at a time, and one write is that of all."""

from __future__ import annotations

import os
import threading
import time

import pytest

from jamba_ray.driver.server import StudyServer
from jamba_ray.errors import StorageError
from jamba_ray.study.lease import LeaseLostError
from tests.study.studies import line, plain, settings

N = 8


@pytest.fixture
def server(tmp_path):
    made = StudyServer(str(tmp_path / "study.journal"), settings(n_trials=N), "s", None)
    yield made
    made.close()


def at_once(act):
    """What ``act(n)`` returned or raised in each of the threads."""
    found = [None] * N

    def run(n):
        try:
            found[n] = act(n)
        except BaseException as error:
            found[n] = error

    threads = [threading.Thread(target=run, args=(n,)) for n in range(N)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def test_reports_that_wait_are_written_together_and_none_is_told_before(
    server, tmp_path, monkeypatch
):
    numbers = [server.ask(f"s/{n}").spec.number for n in range(N)]
    sync, synced, early = os.fdatasync, [], []

    def slowly(file):
        time.sleep(0.02)
        sync(file)
        synced.append((tmp_path / "study.journal").read_bytes())

    monkeypatch.setattr(os, "fdatasync", slowly)

    def report(n):
        decisions = []
        for step in range(1, 11):
            value = n + step / 128
            decisions += server.report([line(numbers[n], step, value)])
            needle = b'"step":%d,"intermediate_value":%s' % (step, str(value).encode())
            early.extend([value] if not any(needle in content for content in synced[-2:]) else [])
        return decisions

    found = at_once(report)
    assert all(len(decisions) == 10 for decisions in found)
    assert early == [], "acknowledged before it was on the disk"
    # One by one they would be exactly 80; how few they are is up to the threads of a busy machine.
    assert len(synced) < 70, "80 reports of 8 threads were not grouped"
    for trial in plain(tmp_path / "study.journal").trials:
        assert trial.intermediate_values == {s: trial.number + s / 128 for s in range(1, 11)}


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), LeaseLostError("another")])
def test_a_write_that_fails_fails_all_who_wait_for_it(server, tmp_path, monkeypatch, error):
    numbers = [server.ask(f"s/{n}").spec.number for n in range(N)]
    server._study_writer._journal._patience_s = 0.2
    before = (tmp_path / "study.journal").read_bytes()

    def refuses(file):
        time.sleep(0.02)
        raise error

    monkeypatch.setattr(os, "fdatasync", refuses)
    found = at_once(lambda n: server.report([line(numbers[n], 1, 0.5)]))
    assert all(isinstance(one, StorageError) for one in found), found
    monkeypatch.undo()
    with pytest.raises(StorageError):
        server.ask("s/9")
    if isinstance(error, OSError):
        assert (tmp_path / "study.journal").read_bytes() == before
