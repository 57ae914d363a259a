"""What the column names of a file must be, whatever its format."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from jamba_ray.errors import DataError


def check_names(file: Path, names: Sequence[str]) -> None:
    """Raise DataError, naming ``file``, unless all names differ and none is blank."""
    twice = [name for name, n in Counter(names).items() if n > 1 and name]
    if twice:
        raise DataError(
            f"column names of {file} must differ, but {twice[0]!r} comes twice or more; rename one."
        )
    if sum(not name for name in names) > 1:
        raise DataError(
            f"columns of {file} must have names, but {sum(not name for name in names)} have none; "
            "name them or remove them."
        )
