"""Asking a cluster that is out of reach, with a clock of its own."""

from __future__ import annotations

import pytest
import requests

from jamba_ray.cluster.retry import Link, is_silence, reason
from jamba_ray.errors import UnavailableError
from tests.clock import Clock


def _link(clock: Clock, said: list[str], patience_s: float = 60.0) -> Link:
    return Link(
        "http://head:8265",
        patience_s,
        said.append,
        advice="Do it again.",
        sleep=clock.sleep,
        clock=clock,
        chance=lambda: 1.0,
    )


def _refused() -> Exception:
    return requests.exceptions.ConnectionError(
        "HTTPConnectionPool(host='head', port=8265): Max retries exceeded (Caused by "
        "NewConnectionError('<x>: Failed to establish: [Errno 111] Connection refused'))"
    )


def test_a_silence_is_told_once_and_its_end_too():
    clock, said = Clock(), []
    answers = iter([_refused()] * 4 + ["there"])

    def ask():
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert _link(clock, said).retry(ask) == "there"
    assert said == [
        "the cluster at http://head:8265 does not answer (connection refused): trying again for "
        "60 s; what runs there goes on",
        "the cluster answers again, after 29 s",
    ]
    assert clock.pauses == [2.0, 4.0, 8.0, 15.0]


def test_who_asked_in_a_silence_that_has_ended_does_not_tell_of_another():
    """Two threads ask: while the second waits for its refusal, the first one has its answer."""
    clock, said = Clock(), []
    link = _link(clock, said)
    first, second = iter([_refused(), "there"]), iter([_refused(), "there too"])

    def ask_second():
        answer = next(second)
        if isinstance(answer, Exception):
            assert link.retry(lambda: _raised(next(first))) == "there"
            raise answer
        return answer

    assert link.retry(ask_second) == "there too"
    assert [sentence.count("does not answer") for sentence in said] == [1, 0]


def _raised(answer):
    if isinstance(answer, Exception):
        raise answer
    return answer


def test_patience_ends_with_the_way_on():
    clock, said = Clock(), []

    def ask():
        raise _refused()

    with pytest.raises(UnavailableError) as caught:
        _link(clock, said).retry(ask)
    assert "has not for 60 s (connection refused). Do it again." in str(caught.value)
    assert 40.0 < clock.now - 100.0 <= 60.0
    assert len(said) == 1


def test_an_answer_is_an_answer_whatever_it_is():
    clock, said = Clock(), []

    def ask():
        raise RuntimeError("Request failed with status code 400: no.")

    with pytest.raises(RuntimeError, match="400"):
        _link(clock, said).retry(ask)
    assert clock.pauses == said == []


@pytest.mark.parametrize(
    ("error", "silent", "words"),
    [
        (_refused(), True, "connection refused"),
        (requests.exceptions.ReadTimeout("Read timed out. (read timeout=30)"), True, "no answer"),
        (TimeoutError(), True, "no answer in time"),
        (
            requests.exceptions.ConnectionError("('Connection aborted.', RemoteDisconnected(''))"),
            True,
            "connection closed",
        ),
        (RuntimeError("Request failed with status code 502: Bad gateway."), True, "HTTP status"),
        (RuntimeError("Request failed with status code 404: Job x5 does not exist"), False, "404"),
        (ValueError("500"), False, "ValueError"),
    ],
)
def test_what_counts_as_silence(error, silent, words):
    assert is_silence(error) is silent
    assert words in reason(error)
