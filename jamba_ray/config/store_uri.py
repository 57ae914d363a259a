"""Parses ``store``: a folder, or a bucket by URI; which schemes there are and what no URI may
hold."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

SCHEMES = ("s3", "gs")
"""Remote stores there are; everything else with '://' but ``file`` is refused."""
_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]")
_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._=-]{0,127}")


@dataclass(frozen=True)
class StoreUri:
    """Names a place in a bucket."""

    scheme: str
    path: str
    """Bucket and prefix, by '/'; no slash at either end."""

    def __str__(self) -> str:
        return f"{self.scheme}://{self.path}"

    def child(self, name: str) -> StoreUri:
        """Returns the place ``name`` inside this one."""
        return replace(self, path=f"{self.path}/{name}")


def parse_store(value: str) -> StoreUri | str:
    """Returns the bucket that ``value`` means, or the local folder.

    Raises:
        ValueError: An unknown scheme, credentials or options in the URI, a path that climbs.
    """
    scheme, separator, rest = value.partition("://")
    if not separator:
        if not value.strip():
            raise ValueError(
                "`store` must name a folder, but is empty. Give one, or drop it for 'runs'"
            )
        return value
    if scheme == "file":
        return rest
    # The value is not repeated below: it may hold a secret.
    if scheme not in SCHEMES:
        raise ValueError(
            f"`store` must be a folder, s3://bucket/prefix or gs://bucket/prefix, but its scheme "
            f"is {scheme[:20]!r}"
        )
    if "@" in rest or "?" in rest or "#" in rest:
        raise ValueError(
            "`store` must hold no credentials or options, but has an '@', '?' or '#'. Give nodes "
            "an instance profile or environment variables, and the endpoint as `store_endpoint`"
        )
    bucket, *parts = rest.rstrip("/").split("/")
    if not _BUCKET.fullmatch(bucket):
        raise ValueError(f"`store` must name a bucket after '{scheme}://', but has {bucket!r}")
    if not all(_PART.fullmatch(part) for part in parts):
        raise ValueError(
            "`store` must be plain names (letters, digits, '.', '_', '=', '-') with '/' between, "
            f"but is {value!r}"
        )
    return StoreUri(scheme, "/".join([bucket, *parts]))


def checked_endpoint(value: str) -> str:
    """Checks an object store's own address: ``https://minio.example.com:9000``.

    Raises:
        ValueError: It is no plain HTTP address.
    """
    if not re.fullmatch(r"https?://[A-Za-z0-9.\[\]:-]+", value.rstrip("/")):
        raise ValueError(
            "`store_endpoint` must be http(s)://host:port without user, path or options. "
            "Give something like 'https://minio.example.com:9000'"
        )
    return value.rstrip("/")
