"""Limits how much a reader may unfold, before it starts and while it reads.

Compressed files cannot be trusted to say how large they become: 1 MB of gzip can be 1 GB of text,
and a Parquet file whose footer says 195 kB opened to 387 MB. So cells are counted, and text bytes
too.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from jamba_ray.errors import DataError

_CELL_BYTES = 16
"""A cell while it is read: 8 bytes in Arrow and as many in pandas."""
_CGROUP = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


@dataclass
class Budget:
    """Holds what is left to read, over all files of one table."""

    cells: int
    text_bytes: int
    limited_by: str

    @classmethod
    def of(cls, max_cells: int) -> Budget:
        """Returns a budget of ``max_cells``, or of what fits this machine's memory where that is
        less."""
        memory = memory_bytes()
        fits = memory // _CELL_BYTES
        if fits < max_cells:
            why = f"this machine's {memory / 1e9:.0f} GB of memory; set data.rows_in=disk"
            return cls(fits, memory // 2, why)
        budget = cls.apart_from_memory(max_cells)
        return cls(max_cells, min(budget.text_bytes, memory // 2), budget.limited_by)

    @classmethod
    def apart_from_memory(cls, max_cells: int) -> Budget:
        """Returns a budget of ``max_cells`` for a table that is not held in memory as a whole."""
        why = f"data.max_cells={max_cells}; raise it if the file is meant to be that large"
        # CSV text spends about 10 bytes on a cell; 64 leaves room for long strings.
        return cls(max_cells, 64 * max_cells + 65_536, why)

    def spend(self, file: Path, *, cells: int = 0, text_bytes: int = 0) -> None:
        """Takes what ``file`` was found to hold.

        Raises:
            DataError: Less than that is left.
        """
        self.cells -= cells
        self.text_bytes -= text_bytes
        if self.cells < 0:
            raise DataError(
                f"{file} must not unfold to more rows x columns than allowed, but exceeds that by "
                f"{-self.cells:,} or more cells; the limit is {self.limited_by}."
            )
        if self.text_bytes < 0:
            raise DataError(
                f"{file} must not unfold to more bytes than allowed, but exceeds that by "
                f"{-self.text_bytes:,} or more; the limit is {self.limited_by}."
            )


@dataclass(frozen=True)
class Measured:
    """Holds what a pass through a file finds."""

    rows: int
    """At most so many."""
    content_bytes: int
    """Of text, or of uncompressed Parquet."""
    notes: tuple[str, ...] = ()
    """Sentences on what was assumed."""


def memory_bytes() -> int:
    """Returns the memory of this machine or of the container that holds this process."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for path in _CGROUP:
        with suppress(OSError, ValueError):  # absent, or "max"
            total = min(total, int(Path(path).read_text()))
    return total
