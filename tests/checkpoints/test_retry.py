"""The one retry: its pauses, its end, what is final; and that no second loop of the kind exists."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import jamba_ray
from jamba_ray.checkpoints import Failure, Patience, retry
from tests.clock import Clock


def attempts_until_the_end(patience: Patience, took_s: float) -> tuple[Clock, list[Failure]]:
    clock, failures = Clock(), []

    def call():
        clock.now += took_s
        raise OSError("no")

    with pytest.raises(OSError, match="no"):
        retry(call, patience, failures.append, sleep=clock.sleep, clock=clock, chance=lambda: 1.0)
    return clock, failures


def test_pauses_grow_and_differ():
    patience = Patience(first_s=0.2, longest_s=15.0)
    assert [patience.pause_s(n, 1.0) for n in (1, 2, 3, 20)] == [0.4, 0.8, 1.6, 15.0]
    assert patience.pause_s(5, 0.0) == 0.0
    assert patience.pause_s(10_000, 0.5) == 7.5


def test_the_last_attempt_is_made_when_the_patience_is_over():
    clock, failures = attempts_until_the_end(Patience(10.0, 1.0, 4.0), took_s=0.0)
    assert clock.pauses == [2.0, 4.0, 4.0]
    assert [f.is_last for f in failures] == [False, False, False, True]
    assert [f.attempts for f in failures] == [1, 2, 3, 4]
    assert failures[-1].waited_s == 10.0


def test_without_patience_there_is_one_attempt():
    clock, failures = attempts_until_the_end(Patience(0.0), took_s=5.0)
    assert clock.pauses == []
    assert [f.is_last for f in failures] == [True]


def test_the_seconds_may_count_from_the_first_failure():
    """An upload of ten minutes that breaks off is tried again, for as long as a short call is."""
    _, from_begin = attempts_until_the_end(Patience(300.0), took_s=600.0)
    _, from_failure = attempts_until_the_end(Patience(300.0, from_failure=True), took_s=600.0)
    assert [len(from_begin), len(from_failure)] == [1, 2]
    assert from_failure[0].waited_s == 0.0


def test_what_is_final_ends_at_once_as_what_failed_raises_it():
    def failed(failure: Failure) -> None:
        raise KeyError("final") from failure.error

    clock = Clock()
    with pytest.raises(KeyError, match="final") as caught:
        retry(lambda: 1 // 0, Patience(), failed, sleep=clock.sleep)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert clock.pauses == []


def test_an_interrupt_is_no_failure():
    def interrupted():
        raise KeyboardInterrupt

    failures: list[Failure] = []
    with pytest.raises(KeyboardInterrupt):
        retry(interrupted, Patience(), failures.append)
    assert failures == []


ELSEWHERE = {
    "cluster/job_client.py": "follows a log, whose end the job's state tells",
    "cluster/down.py": "asks once a minute, for ever: what is left running costs money",
    "study/lease.py": "waits for a lock's holder",
    "versions/place.py": "waits for a lock's holder",
}


def is_retry(loop: ast.AST) -> bool:
    """Whether a loop catches errors and sleeps."""
    inside = list(ast.walk(loop))
    sleeps = any(isinstance(n, ast.Attribute) and n.attr in ("sleep", "_sleep") for n in inside)
    return sleeps and any(isinstance(n, (ast.ExceptHandler, ast.withitem)) for n in inside)


def test_no_other_loop_of_jamba_ray_retries():
    root = Path(jamba_ray.__file__).parent
    loops = {
        path.relative_to(root).as_posix()
        for path in root.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, (ast.While, ast.For)) and is_retry(node)
    }
    assert loops - ELSEWHERE.keys() == set(), "use jamba_ray.checkpoints.retry"
