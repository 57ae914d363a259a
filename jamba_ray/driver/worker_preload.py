"""Imports a runner's modules when Ray starts a worker on this machine.

Runners begin in these workers: torch and Ray Tune load while the study is opened.
"""

from __future__ import annotations

import contextlib
import importlib
import os

from jamba_ray.driver.preload import PRELOAD

if os.environ.get(PRELOAD) != "0":
    # Workers preload only if each CPU has a runner, so one thread each. Libraries read this once,
    # when they are loaded, and Ray sets it later, when a runner begins.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with contextlib.suppress(Exception):
        importlib.import_module("jamba_ray.runners.trainable")
