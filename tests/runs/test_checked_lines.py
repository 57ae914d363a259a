"""Checked lines under every kind of damage: what is read is what was written, and no more."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jamba_ray.runs import checked_lines
from jamba_ray.runs.checked_lines import Position, commits, encode, merge

DATA = b""
ENDS = []
_at = Position()
for number in range(1, 13):
    lines = [
        json.dumps({"n": number, "line": i, "x": "é" * i}).encode() for i in range(number % 4 + 1)
    ]
    more, _at = encode(lines, _at)
    DATA += more
    ENDS.append(_at)


def damaged(data: bytes, draw) -> bytes:
    kind = draw(
        st.sampled_from(["bit", "cut", "lost", "doubled", "zeros", "moved", "none", "added"])
    )
    a = draw(st.integers(0, len(data) - 1))
    b = draw(st.integers(a, len(data)))
    if kind == "bit":
        return data[:a] + bytes([data[a] ^ 1 << draw(st.integers(0, 7))]) + data[a + 1 :]
    if kind == "cut":
        return data[:a]
    if kind == "lost":
        return data[:a] + data[b:]
    if kind == "doubled":
        return data[:b] + data[a:]
    if kind == "zeros":
        return data[:a] + bytes(b - a) + data[b:]
    if kind == "added":
        return data + data[a:b]
    if kind == "moved":
        parts = data.splitlines(keepends=True)
        i, j = (draw(st.integers(0, len(parts) - 1)) for _ in range(2))
        parts[i], parts[j] = parts[j], parts[i]
        return b"".join(parts)
    return data


@settings(max_examples=500, deadline=None)
@given(st.data())
def test_one_damaged_copy_of_two_loses_nothing(choice):
    wrong = damaged(DATA, choice.draw)
    for pair in ((wrong, DATA), (DATA, wrong)):
        found = merge(*pair)
        assert found.data == DATA
        assert found.end == ENDS[-1]


@settings(max_examples=500, deadline=None)
@given(st.data())
def test_two_damaged_copies_give_a_prefix_of_whole_commits(choice):
    found = merge(damaged(DATA, choice.draw), damaged(DATA, choice.draw))
    assert found.data == DATA[: found.end.size]
    assert found.end in [Position(), *ENDS]
    assert list(commits(found.data)) == ENDS[: found.end.commits]


def test_without_checksums_a_flipped_bit_would_pass(monkeypatch):
    """Sabotage twin of the two above."""
    wrong = DATA.replace(b'"n": 5', b'"n": 4', 1)
    assert merge(wrong, DATA).data == DATA
    assert merge(wrong, b"").end.commits == 4
    monkeypatch.setattr(checked_lines, "checksum", lambda previous, body: "0" * 16)
    zeroed = b"".join(line[:-19] + b"0" * 16 + b'"}\n' for line in wrong.splitlines(keepends=True))
    assert merge(zeroed, DATA).data == zeroed


@pytest.mark.parametrize("n", range(1, 12))
def test_what_both_lost_is_counted(n):
    """The later commits are there and cannot be used."""
    start = ENDS[n - 1].size
    wrong = DATA[: start + 5] + b"#" + DATA[start + 6 :]
    found = merge(wrong, wrong[:-1])
    assert found.end == ENDS[n - 1]
    assert found.newest == 12


def test_a_commit_that_was_cut_off_does_not_count():
    for size in range(ENDS[10].size, len(DATA)):
        found = merge(DATA[:size], DATA[: ENDS[10].size])
        assert found.end == ENDS[10]
        assert found.newest == 11


def test_the_lines_are_json_with_the_keys_that_were_given():
    for line in DATA.splitlines():
        found = json.loads(line)
        assert found.keys() - {"commit", "sum"} == {"n", "line", "x"}
