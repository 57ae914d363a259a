"""Names: which may become paths, and which known one a typo probably meant."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def run_name(value: str) -> str:
    """``value`` if it is safe as the name of a file or folder; ValueError otherwise."""
    if not _NAME.fullmatch(value):
        raise ValueError(
            "a name must be 1-64 letters, digits, '.', '_' or '-' and start with a letter or digit, "
            f"but is {value!r}. Choose a plain name such as 'nsl-kdd-1'"
        )
    return value


def nearest(value: str, known: Iterable[str]) -> str:
    """``. Did you mean `x`?`` for the known name closest to ``value``, or an empty string."""
    close = difflib.get_close_matches(value, list(known), n=1, cutoff=0.6)
    return f". Did you mean `{close[0]}`?" if close else ""
