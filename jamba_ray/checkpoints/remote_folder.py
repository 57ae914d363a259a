"""Reads and writes whole objects in a bucket, and retries when the store refuses.

An object store has no rename, but a single object appears whole or not at all: everything else is
built on that.
"""

from __future__ import annotations

import datetime
import os
import random
import re
import time
from collections.abc import Callable
from typing import Any, TypeVar

import pyarrow.fs as fs  # type: ignore[import-untyped]

from jamba_ray.checkpoints.retry import Failure, Patience, retry
from jamba_ray.config.store_uri import StoreUri
from jamba_ray.errors import StorageError, StoreRefusedError

T = TypeVar("T")

CONNECT_TIMEOUT_S = 10.0
REQUEST_TIMEOUT_S = 60.0
_PATIENCE = Patience()
_PERMANENT = re.compile(
    r"ACCESS_DENIED|NO_SUCH_BUCKET|INVALID_ACCESS_KEY|SIGNATURE|UNRECOGNIZED_CLIENT|EXPIRED|"
    r"INVALID_CLIENT_TOKEN|METHOD_NOT_ALLOWED|bucket.{0,80}(not exist|not found)|"
    # Neither a time-out (408), a conflict (409), too early (425) nor too many requests (429).
    r"HTTP status (30\d|4(?!08|09|25|29)\d\d|501)",
    flags=re.I,
)


class RemoteFolder:
    """Reads and writes objects below ``uri``.

    Args:
        uri: Bucket and prefix.
        endpoint: Address of a store that is not Amazon's or Google's own; None: AWS_ENDPOINT_URL,
            else the cloud's.
        patience: How long each call is retried.
        answers_within_s: Seconds without an answer after which a request has failed; at most
            ``REQUEST_TIMEOUT_S``.
        sleep, chance: Replace time and random numbers in tests.
    """

    def __init__(
        self,
        uri: StoreUri,
        endpoint: str | None = None,
        *,
        patience: Patience = _PATIENCE,
        answers_within_s: float = REQUEST_TIMEOUT_S,
        sleep: Callable[[float], None] = time.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.uri = uri
        self._files = _filesystem(uri, endpoint, max(1.0, answers_within_s))
        self._patience, self._sleep, self._chance = patience, sleep, chance

    def write(self, name: str, data: bytes) -> None:
        """Writes ``name`` with this content; readers see the old object or the whole new one.

        Raises:
            StorageError: The store refuses, or did until patience ended.
        """

        def put() -> None:
            with self._files.open_output_stream(self._path(name)) as stream:
                stream.write(data)

        self._retry(f"write {self.uri}/{name}", put)

    def read(self, name: str, limit: int) -> bytes | None:
        """Returns at most ``limit`` bytes of an object; None: there is none.

        Raises:
            StorageError: See ``write``.
        """

        def get() -> bytes:
            with self._files.open_input_stream(self._path(name)) as stream:
                content: bytes = stream.read(limit)
                return content

        try:
            return self._retry(f"read {self.uri}/{name}", get)
        except FileNotFoundError:
            return None

    def names(self, below: str = "") -> list[str]:
        """Returns the names of the objects below a prefix, relative to this folder, sorted.

        Raises:
            StorageError: See ``write``.
        """
        base = self._path(below) if below else self.uri.path
        selector = fs.FileSelector(base, recursive=True, allow_not_found=True)
        infos = self._retry(f"list {self.uri}/{below}", lambda: self._files.get_file_info(selector))
        skip = len(self.uri.path) + 1
        return sorted(info.path[skip:] for info in infos if info.type == fs.FileType.File)

    def delete(self, name: str) -> None:
        """Deletes an object, if it is there.

        Raises:
            StorageError: See ``write``.
        """
        try:
            self._retry(
                f"delete {self.uri}/{name}", lambda: self._files.delete_file(self._path(name))
            )
        except FileNotFoundError:
            return

    def _path(self, name: str) -> str:
        return f"{self.uri.path}/{name}"

    def _retry(self, what: str, call: Callable[[], T]) -> T:
        """Repeats a call until it works, the refusal is final, or the patience is over."""

        def failed(failure: Failure) -> None:
            error = failure.error
            if not isinstance(error, OSError):
                raise error
            if _PERMANENT.search(str(error)):
                raise StoreRefusedError(_sentence(what, error)) from error
            if isinstance(error, FileNotFoundError):
                raise error
            if failure.is_last:
                sentence = _sentence(what, error, failure.attempts, failure.waited_s)
                raise StorageError(sentence) from error

        return retry(call, self._patience, failed, sleep=self._sleep, chance=self._chance)


def _sentence(what: str, error: OSError, attempts: int = 1, waited_s: float = 0.0) -> str:
    lines = str(error).strip().splitlines()
    often = f", tried {attempts} times in {waited_s:.0f} s" if attempts > 1 else ""
    return (
        f"Cannot {what}: {(lines or [type(error).__name__])[0].rstrip('.')}{often}. Check the "
        "bucket, the nodes' rights to it and `store_endpoint`; `resume=true` continues."
    )


def _filesystem(uri: StoreUri, endpoint: str | None, answers_within_s: float) -> Any:
    if uri.scheme == "s3":
        endpoint = (
            endpoint or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        )
        scheme, _, host = (endpoint or "https://").partition("://")
        return fs.S3FileSystem(
            endpoint_override=host or None,
            scheme=scheme,
            region=_region(uri, endpoint),
            connect_timeout=min(CONNECT_TIMEOUT_S, answers_within_s),
            request_timeout=min(REQUEST_TIMEOUT_S, answers_within_s),
            # Small objects go in one request, so there are no parts of an upload to be left behind.
            allow_delayed_open=True,
            background_writes=False,
            # We retry ourselves. Two nested loops would wait for a multiple of the patience,
            # silently.
            retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=1),
        )
    scheme, _, host = (endpoint or "https://").partition("://")
    return fs.GcsFileSystem(
        endpoint_override=host or None,
        scheme=scheme,
        retry_time_limit=datetime.timedelta(seconds=min(REQUEST_TIMEOUT_S, answers_within_s)),
    )


def _region(uri: StoreUri, endpoint: str | None) -> str | None:
    named = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if named or endpoint:
        return named or "us-east-1"
    try:
        found: str = fs.resolve_s3_region(uri.path.partition("/")[0])
        return found
    except OSError as error:
        raise StoreRefusedError(_sentence(f"find {uri}", error)) from error
