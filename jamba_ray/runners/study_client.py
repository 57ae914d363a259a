"""Calls the study's server from other processes.

It imports neither Optuna nor the study's database, which would cost a third of a second of each
runner's start.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ray

from jamba_ray.errors import JambaError, StorageError

NAMESPACE = "jamba_ray"
ASIDE = "aside"
"""The concurrency group of methods that are answered while the study waits for its disk."""
REPORTS = "reports"
"""The concurrency group of reports, several of which may wait for the same write."""


def server_of(name: str) -> Any:
    """Returns the handle of the server called ``name``."""
    return ray.get_actor(name, namespace=NAMESPACE)


def aside(method: Any) -> Any:
    """Returns ``method`` in a thread of its own, which answers while the study waits for a disk."""
    return method.options(concurrency_group=ASIDE)


def call(
    method: Any,
    *args: Any,
    timeout_s: float | None = None,
    meanwhile: Callable[[], None] | None = None,
) -> Any:
    """Calls a method of the server and waits; raises the study's errors without Ray's wrappers.

    ``meanwhile`` is called every second until there is an answer.

    Raises:
        JambaError: The study raised it.
        StorageError: The server cannot be reached, or the database failed.
    """
    try:
        answer = method.remote(*args)
        while meanwhile is not None and not ray.wait([answer], timeout=1.0)[0]:
            meanwhile()
        return ray.get(answer, timeout=timeout_s)
    except ray.exceptions.RayTaskError as error:
        cause = error.cause
        if isinstance(cause, JambaError):
            raise cause from None
        raise StorageError(
            f"the study must take what it is told, but failed with {type(cause).__name__}: "
            f"{str(cause).splitlines()[0] if str(cause) else 'no message'}. "
            "What was acknowledged is intact; `resume=true` continues."
        ) from error
    except ray.exceptions.RayError as error:
        raise StorageError(
            f"the study's server must be reachable, but is not ({type(error).__name__}). "
            "What was acknowledged is intact; `resume=true` continues."
        ) from error
