"""Imports modules that are needed later, while the process waits for something else.

It does so in the command's own process and in the workers that Ray starts for it.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import json
import threading
from pathlib import Path
from urllib.parse import unquote, urlsplit

import jamba_ray

PRELOAD = "JAMBA_RAY_PRELOAD"
"""Environment variable of a worker; ``0``: it preloads nothing."""


def preload(*modules: str) -> threading.Thread:
    """Imports ``modules`` in a thread, in order; code that needs one sooner waits for it.

    They must share no cycle of imports with what the caller imports meanwhile. A module that fails
    to import raises where it is imported for use.
    """

    def work() -> None:
        for module in modules:
            with contextlib.suppress(Exception):
                importlib.import_module(module)

    thread = threading.Thread(target=work, name="jamba_ray-imports", daemon=True)
    thread.start()
    return thread


def is_installed(name: str = "jamba-ray", package: Path = Path(jamba_ray.__file__).parent) -> bool:
    """Says whether another Python process of this environment imports the same ``package``.

    That is not so where it came from the current folder or ``PYTHONPATH``: a worker of Ray learns
    of those only with its first task, and would load another version of the same modules.
    """
    try:
        found = importlib.metadata.distribution(name)
        origin = json.loads(found.read_text("direct_url.json") or "{}")
    except (importlib.metadata.PackageNotFoundError, ValueError):
        return False
    if origin.get("dir_info", {}).get("editable"):
        home = Path(unquote(urlsplit(origin["url"]).path)) / package.name
    else:
        home = Path(str(found.locate_file(package.name)))
    return home.resolve() == package.resolve()
