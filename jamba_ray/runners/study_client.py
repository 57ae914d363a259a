"""How other processes call the study's server. Runners need no more of it: Optuna and its database
are not imported for them (a third of a second of each runner's start)."""

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
    """The handle of the server called ``name``."""
    return ray.get_actor(name, namespace=NAMESPACE)


def aside(method: Any) -> Any:
    """``method`` in a thread of its own: answered even while the study waits for its disk."""
    return method.options(concurrency_group=ASIDE)


def call(
    method: Any,
    *args: Any,
    timeout_s: float | None = None,
    meanwhile: Callable[[], None] | None = None,
) -> Any:
    """Call a method of the server and wait, with its own errors rather than Ray's wrappers.
    ``meanwhile`` is called every second until there is an answer.

    Raises:
        JambaError: What the study raised.
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
