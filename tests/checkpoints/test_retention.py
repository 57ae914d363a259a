from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jamba_ray.checkpoints import Entry, deletable


def _entry(trial: int, step: int, kind: str = "step") -> Entry:
    return Entry(trial, step, kind, f"trial-{trial:04d}/{kind}-{step:06d}")  # type: ignore[arg-type]


def test_a_running_trial_keeps_its_two_newest_steps():
    entries = [_entry(1, s) for s in (1, 2, 3, 4)]
    assert deletable(entries, best=[], finished=[]) == [_entry(1, 1), _entry(1, 2)]


def test_a_finished_trial_among_the_best_keeps_only_its_result():
    entries = [_entry(1, 3), _entry(1, 4), _entry(1, 2, "best")]
    assert deletable(entries, best=[1], finished=[1]) == [_entry(1, 3), _entry(1, 4)]


def test_the_best_trial_without_a_result_yet_keeps_its_steps():
    entries = [_entry(1, 3), _entry(1, 4)]
    assert deletable(entries, best=[1], finished=[1]) == []


def test_other_finished_trials_keep_nothing():
    entries = [_entry(1, 3), _entry(1, 3, "best")]
    assert deletable(entries, best=[2], finished=[1, 2]) == sorted(entries)


def test_a_policy_that_keeps_nothing_of_running_trials_is_refused():
    with pytest.raises(ValueError, match="`newest` must be at least 1"):
        deletable([], [], [], newest=0)


@given(
    entries=st.sets(
        st.builds(
            _entry, st.integers(0, 5), st.integers(0, 5), st.sampled_from(["step", "best"])
        )
    ),
    best=st.sets(st.integers(0, 5)),
    finished=st.sets(st.integers(0, 5)),
)  # fmt: skip
def test_no_running_trial_loses_its_newest_and_no_winner_its_result(entries, best, finished):
    doomed = set(deletable(entries, best, finished))
    kept = entries - doomed
    assert doomed <= entries
    for trial in {e.trial for e in entries}:
        own = [e for e in entries if e.trial == trial]
        if trial not in finished:
            steps = [e for e in own if e.kind == "step"]
            assert not steps or max(steps) in kept
        if trial in best and trial in finished:
            assert any(e.trial == trial for e in kept)
        if trial in finished and trial not in best:
            assert not any(e.trial == trial for e in kept)
    # Deciding again about what is left deletes nothing more.
    assert deletable(kept, best, finished) == []
