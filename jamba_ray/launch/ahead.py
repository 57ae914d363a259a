"""Modules that a command needs late, imported while it waits for something else."""

from __future__ import annotations

import contextlib
import importlib
import threading


def import_ahead(*modules: str) -> threading.Thread:
    """Import ``modules`` in a thread, one after the other; whoever needs one sooner waits for it.

    They must share no cycle of imports with what the caller imports meanwhile. A module that fails
    says so when it is imported where it is needed.
    """

    def work() -> None:
        for module in modules:
            with contextlib.suppress(Exception):
                importlib.import_module(module)

    thread = threading.Thread(target=work, name="jamba_ray-imports", daemon=True)
    thread.start()
    return thread
