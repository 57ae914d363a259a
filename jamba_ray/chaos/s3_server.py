"""Runs an S3 server on this machine, for sweeps whose store is a bucket; needs ``moto``."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator

BUCKET = "chaos"
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "chaos",
    "AWS_SECRET_ACCESS_KEY": "chaos",
    "AWS_REGION": "us-east-1",
}
"""The server accepts any, but requires some."""
_UP_WITHIN_S = 60.0


@contextlib.contextmanager
def s3_server() -> Iterator[str]:
    """Runs a server without buckets in a process of its own and yields its endpoint.

    Raises:
        LookupError: ``moto`` is not installed, or does not start.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, stdout=quiet, stderr=quiet) as server:
        try:
            endpoint = f"http://127.0.0.1:{port}"
            deadline = time.monotonic() + _UP_WITHIN_S
            while not _answers(endpoint):
                if server.poll() is not None or time.monotonic() > deadline:
                    raise LookupError(
                        "an S3 server must start, but does not: run `pip install 'moto[server]'`."
                    )
                time.sleep(0.1)
            yield endpoint
        finally:
            server.kill()


def make_bucket(endpoint: str) -> None:
    """Creates the bucket."""
    request = urllib.request.Request(f"{endpoint}/{BUCKET}", method="PUT")
    urllib.request.urlopen(request, timeout=30).read()


def _answers(endpoint: str) -> bool:
    try:
        urllib.request.urlopen(f"{endpoint}/moto-api/", timeout=5).read()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True
