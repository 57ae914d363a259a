"""Who is to blame: decisions without processes."""

from __future__ import annotations

import pytest

from jamba_ray.errors import TrialError
from jamba_ray.runners.group_faults import MAX_DEATHS, SILENCE_S, Faults

FAULT = {"kind": "fault", "rank": 1, "reason": "ValueError: no", "traceback": "Traceback ...\n"}
HUNG = {
    "kind": "hung",
    "rank": 1,
    "waiting": False,
    "silent_s": 31.0,
    "stack": 'File "a.py", line 1\n    sleep()\n',
}


def test_a_fault_of_the_trials_own_is_not_retried():
    faults = Faults()
    faults.fault(FAULT)
    faults.fault({**FAULT, "rank": 0, "reason": "RuntimeError: follows from it"})
    with pytest.raises(TrialError, match="ValueError: no") as caught:
        faults.blame()
    assert "rank 1" in str(caught.value.__cause__)


def test_a_hung_rank_is_named_with_its_stack():
    faults = Faults()
    faults.hung({"kind": "hung", "rank": 0, "waiting": True, "number": 4})
    faults.hung(HUNG)
    with pytest.raises(TrialError, match=r"rank 1 made none for 31 s, .*sleep\(\)") as caught:
        faults.blame()
    assert 'File "a.py"' in str(caught.value.__cause__)


def test_where_nobody_says_that_it_hangs_those_that_wait_leave_and_the_group_starts_again():
    faults = Faults()
    faults.hung({"kind": "hung", "rank": 0, "waiting": True, "number": 4})
    assert faults.to_leave(100.0) == []
    assert faults.to_leave(100.0 + SILENCE_S) == [4]
    assert faults.to_leave(200.0) == []
    faults.blame()


def test_deaths_without_progress_are_counted_those_with_progress_are_not():
    faults = Faults()
    for told in range(10):
        faults.died(told)
    for _ in range(MAX_DEATHS - 2):
        faults.died(9)
    with pytest.raises(TrialError, match=f"died {MAX_DEATHS} times"):
        faults.died(9)
