"""Reads the body of a request within its limits: its size, its time, and what all hold together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

from jamba_ray.serving.rows_body import BodyError

_HELD_BODIES = 4
"""Bodies of the largest size that may be in memory at a time."""
_DISCARDED = 4
"""How many times the largest size is read and dropped, so that a client reads why."""


@dataclass
class BodyReader:
    """Reads bodies; counts the bytes that all requests hold."""

    max_bytes: int
    timeout_s: float
    held: int = 0

    async def read(self, headers: Mapping[str, str], chunks: AsyncIterator[bytes]) -> bytes:
        """Returns the whole body; ``release`` must be called with its length.

        Raises:
            BodyError: It is too large, too slow, compressed, or there is no memory for it.
        """
        self._refuse_headers(headers)
        parts: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(self.timeout_s):
                async for chunk in chunks:
                    size += len(chunk)
                    self.held += len(chunk)
                    if size > self.max_bytes:
                        self.held -= size
                        size = 0
                        parts.clear()
                        await self._discard(chunks)
                        raise self._too_large()
                    parts.append(chunk)
                    if self.held > _HELD_BODIES * self.max_bytes:
                        raise BodyError(
                            "the server holds as many bytes of requests as it may. Send this one "
                            "again in a moment.",
                            503,
                        )
        except TimeoutError as error:
            self.held -= size
            raise BodyError(
                f"a request must have arrived within {self.timeout_s:g} s, but only {size:,} bytes "
                "did. Send it faster, or in parts.",
                408,
            ) from error
        except BaseException:
            self.held -= size
            raise
        return b"".join(parts)

    def release(self, size: int) -> None:
        """Counts the bytes of a body as free again."""
        self.held -= size

    def _refuse_headers(self, headers: Mapping[str, str]) -> None:
        encoding = headers.get("content-encoding", "identity")
        if encoding != "identity":
            raise BodyError(
                f"a body must not be compressed, but Content-Encoding is {encoding[:40]!r}. Send "
                "it as it is.",
                415,
            )
        length = headers.get("content-length", "")
        if length.isdecimal() and int(length) > self.max_bytes * (1 + _DISCARDED):
            raise self._too_large()

    async def _discard(self, chunks: AsyncIterator[bytes]) -> None:
        left = _DISCARDED * self.max_bytes
        async for chunk in chunks:
            left -= len(chunk)
            if left < 0:
                return

    def _too_large(self) -> BodyError:
        return BodyError(
            f"a body must have at most {self.max_bytes / 1e6:g} MB, but has more. Send it in "
            "parts, as `jamba-ray score` does, or let the server take more with `max_body_mb`.",
            413,
        )
