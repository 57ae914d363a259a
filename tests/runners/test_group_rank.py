"""A rank that hangs ends its process, also where nobody takes note of it."""

from __future__ import annotations

import subprocess
import sys

import pytest

HUNG = """
import sys, time
from types import SimpleNamespace
from ray.exceptions import GetTimeoutError
from jamba_ray.runners import group_rank
from jamba_ray.training.ranks import Pulse

def silent(event):
    raise GetTimeoutError("the queue does not answer")

group_rank.HUNG_AFTER_S = 0.5
ranks = SimpleNamespace(rank=1, pulse=Pulse(0.0))
queue = SimpleNamespace(tell=SimpleNamespace(remote=silent), ask=SimpleNamespace(remote=silent))
with group_rank._Watchdog(ranks, queue, 1):
    for _ in range(15):
        if sys.argv[1] == "works":
            ranks.pulse.beat()
        ranks.pulse.waiting = sys.argv[1] == "waits"
        time.sleep(0.2)
    print("ended", flush=True)
    if sys.argv[1] != "works":
        time.sleep(60)
"""


@pytest.mark.parametrize(("how", "code"), [("hangs", 86), ("waits", 86), ("works", 0)])
def test_a_rank_that_hangs_ends_though_its_queue_does_not_answer(how, code):
    words = [sys.executable, "-c", HUNG, how]
    done = subprocess.run(words, capture_output=True, text=True, timeout=55)
    assert done.returncode == code, done.stdout + done.stderr
