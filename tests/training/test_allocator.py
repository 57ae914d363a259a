"""Freed blocks are used again instead of being mapped anew; shown by the kernel's own count."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from jamba_ray.training import allocator

BLOCKS, PAGES = 50, 512

SCRIPT = f"""
import resource, runpy, sys
import numpy as np

if "keep" in sys.argv:
    assert runpy.run_path({allocator.__file__!r})["keep_freed_memory"]()

def step():
    return len([np.ones({PAGES} * 512) for _ in range(8)])

step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range({BLOCKS}):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(*args: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *args], capture_output=True, text=True, check=True
    )
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's allocator alone is told")
def test_blocks_are_not_mapped_anew():
    kept, usual = faults("keep"), faults()
    assert kept < BLOCKS * PAGES / 10
    assert usual > BLOCKS * PAGES  # sabotage twin: otherwise the first line would prove nothing
