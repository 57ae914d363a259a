"""Checks what Ray needs of the machine or the cluster, without starting Ray.

A sweep, its ``dry_run`` and ``jamba_ray.doctor`` all call it, so that they give the same message.
"""

from __future__ import annotations

import contextlib
import os
import re
import resource
import shutil
import socket
import time

from jamba_ray.checkpoints import Failure, Patience, retry
from jamba_ray.errors import UnavailableError
from jamba_ray.runs.scratch import socket_folder

ANSWER_S = 10.0
"""Seconds without an answer after which a head counts as gone."""
_PATIENCE = Patience(4.0, longest_s=1.0)
"""A head that is being started refuses connections for a moment."""
_HTTP2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
"""How a gRPC client begins: the preface and an empty frame of settings (RFC 9113, 3.4)."""
_SETTINGS = 4
"""Type of the frame that a gRPC server answers with."""
_GB = 10**9
_ADDRESS_SPACE = 4 * _GB
"""Address space of Ray and torch in one process without Ray's object store (3.3 GB on 2 CPUs)."""
_SMALLEST_STORE = 100_000_000
"""Bytes of an object store with which Ray still starts."""


def cluster_address(address: str | None = None) -> str | None:
    """Returns the cluster at ``address`` or in ``RAY_ADDRESS``; None: Ray is started here."""
    found = address or os.environ.get("RAY_ADDRESS")
    return None if found in (None, "", "local") else found


def require_surroundings(address: str | None = None) -> None:
    """Raises an error where Ray could not be started or reached.

    Raises:
        UnavailableError: With the cause and the way out.
    """
    if mistake := surroundings_mistake(address):
        raise UnavailableError(mistake)


def surroundings_mistake(address: str | None = None) -> str | None:
    """Returns why Ray cannot be started here or reached at ``address``; None: it probably can."""
    if (cluster := cluster_address(address)) is not None:
        return cluster_mistake(cluster)
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit != resource.RLIM_INFINITY and limit < (least := _ADDRESS_SPACE + _SMALLEST_STORE):
        return (
            f"A process must be allowed an address space of at least {least / _GB:.1f} GB for Ray "
            f"and torch, but is allowed {limit / _GB:.1f} GB. Raise it: `ulimit -v unlimited`."
        )
    try:
        socket_folder()
    except UnavailableError as error:
        return error.message
    return None


def object_store_bytes() -> int:
    """Returns the size of Ray's object store.

    It is a fifth of the memory, at most 8 GB, 80 % of the shared memory and what the limit of the
    address space leaves.
    """
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    most = [0.2 * memory, 8 * _GB]
    with contextlib.suppress(OSError):  # without it Ray keeps the store in its temporary folder
        most.append(0.8 * shutil.disk_usage("/dev/shm").free)
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit != resource.RLIM_INFINITY:
        most.append(limit - _ADDRESS_SPACE)
    return max(_SMALLEST_STORE, int(min(most)))


def cluster_mistake(address: str) -> str | None:
    """Returns why no Ray answers at ``address``; asks for a few seconds, never for minutes."""
    way_out = "Start that cluster, or unset RAY_ADDRESS to run on this machine."
    found = re.fullmatch(r"(?:ray://)?\[?([^\[\]/]+?)\]?:(\d{1,5})", address)
    if address == "auto" or (address.startswith("ray://") and found is None):
        return None  # Ray itself looks for it, and raises at once if there is none
    if found is None:
        return (
            "RAY_ADDRESS must be `<host>:<port>` of a cluster's head (its port is 6379 unless it "
            f"was given another), but is {address!r}. {way_out}"
        )
    host, port = _host_of_ray(found[1]), int(found[2])
    try:
        answered = retry(lambda: _answers(host, port), _PATIENCE, _unless_refused)
    except OSError as error:
        why = (error.strerror or str(error) or type(error).__name__).lower()
        return f"Ray must answer at {address} (RAY_ADDRESS), but does not ({why}). {way_out}"
    if not answered:
        return (
            f"Ray must answer at {address} (RAY_ADDRESS), but what answers there is no head of "
            f"Ray. {way_out}"
        )
    return None


def _unless_refused(failure: Failure) -> None:
    """Raises an error that a retry does not help: only a head that starts refuses a connection."""
    if not isinstance(failure.error, ConnectionRefusedError):
        raise failure.error


def _host_of_ray(host: str) -> str:
    """Returns the address that Ray uses for ``host``, which matters for this machine's names."""
    if host not in ("localhost", "127.0.0.1", "::1"):
        return host
    from ray.util import get_node_ip_address

    address: str = get_node_ip_address()  # type: ignore[no-untyped-call]
    return address


def _answers(host: str, port: int) -> bool:
    """Says whether a gRPC server answers; raises OSError where nothing does within ``ANSWER_S``."""
    deadline = time.monotonic() + ANSWER_S
    with socket.create_connection((host, port), timeout=ANSWER_S) as line:
        if os.environ.get("RAY_USE_TLS", "0").lower() in ("1", "true"):
            return True  # cannot be checked without a certificate
        line.sendall(_HTTP2)
        answer = b""
        while len(answer) < len(_HTTP2[-9:]):
            line.settimeout(max(0.01, deadline - time.monotonic()))
            if not (more := line.recv(9 - len(answer))):
                return False
            answer += more
    return answer[3] == _SETTINGS
