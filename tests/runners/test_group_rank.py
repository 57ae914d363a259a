"""A rank that hangs ends its process, also where nobody takes note of it."""

from __future__ import annotations

import subprocess
import sys

HUNG = """
import os, sys, time
from types import SimpleNamespace
from ray.exceptions import GetTimeoutError
from jamba_ray.runners import group_rank
from jamba_ray.training.ranks import Pulse

def silent(event):
    raise GetTimeoutError("the queue does not answer")

def work(how):
    group_rank.HUNG_AFTER_S = 0.5
    ranks = SimpleNamespace(rank=1, pulse=Pulse(0.0))
    queue = SimpleNamespace(tell=SimpleNamespace(remote=silent), ask=SimpleNamespace(remote=silent))
    with group_rank._Watchdog(ranks, queue, 1):
        for _ in range(15):
            if how == "works":
                ranks.pulse.beat()
            ranks.pulse.waiting = how == "waits"
            time.sleep(0.2)
        if how != "works":
            time.sleep(60)

for how in sys.argv[1:]:
    if not (child := os.fork()):  # one process each, and one import of torch and Ray for all
        work(how)
        os._exit(0)
    print(how, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def test_a_rank_that_hangs_ends_though_its_queue_does_not_answer():
    words = [sys.executable, "-c", HUNG, "hangs", "waits", "works"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=200)
    assert done.stdout.splitlines() == ["hangs 86", "waits 86", "works 0"], done.stderr
