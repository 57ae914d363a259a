"""Decides by the hash of a key which version answers: the same key, the same version."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

_SALT = b"jamba_ray\0"
_PARTS = 1 << 64


def place_of(key: str | bytes) -> float:
    """Returns where in [0, 1) a key lies; evenly spread, and the same in every process."""
    raw = key if isinstance(key, bytes) else key.encode("utf-8", "surrogatepass")
    digest = hashlib.blake2b(_SALT + raw, digest_size=8).digest()
    return int.from_bytes(digest, "big") / _PARTS


@dataclass(frozen=True)
class Split:
    """Gives a share of the keys to another version."""

    share: float

    def is_other(self, key: str | bytes) -> bool:
        """Says whether a key belongs to the other version.

        A greater share keeps the keys that a smaller one had.
        """
        return place_of(key) < self.share

    def others(self, keys: Sequence[Any]) -> list[int]:
        """Returns the positions of the keys that belong to the other version."""
        known: dict[str, bool] = {}
        found = []
        for i, key in enumerate(keys):
            text = str(key)
            if text not in known:
                known[text] = self.is_other(text)
            if known[text]:
                found.append(i)
        return found
