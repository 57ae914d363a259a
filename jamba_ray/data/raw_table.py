"""Reads the columns of a raw table when they are asked for, as many at a time as memory takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from jamba_ray.data.splits import Indices


@dataclass(frozen=True, eq=False)
class RawTable:
    """Holds named columns of equally many rows."""

    columns: tuple[str, ...]
    read: Callable[[Sequence[str]], pd.DataFrame]
    """The columns asked for, and perhaps others, of all rows."""
    at_once: int
    """How many columns memory takes at a time."""

    @classmethod
    def of(cls, frame: pd.DataFrame) -> RawTable:
        """Wraps a table that is held as a whole."""
        return cls(tuple(frame.columns), lambda _: frame, max(len(frame.columns), 1))

    def groups(self, names: Sequence[str]) -> Iterator[Sequence[str]]:
        """Yields ``names`` in their order, as many at a time as are read at once."""
        for i in range(0, len(names), self.at_once):
            yield names[i : i + self.at_once]


class RawColumns:
    """Reads some rows of a table column by column, ahead in the order of ``columns``.

    What ``detect`` and ``Preprocessor.fit`` use of a DataFrame.
    """

    def __init__(self, table: RawTable, rows: Indices) -> None:
        self._table, self._rows = table, rows
        self.columns = table.columns
        """The columns in the order in which they will be asked for."""
        self._held = pd.DataFrame()

    def __getitem__(self, name: str) -> pd.Series[Any]:
        """Returns one column of these rows."""
        if name not in self._held.columns:
            self._held = pd.DataFrame()
            at = self.columns.index(name)
            ahead = self.columns[at : at + self._table.at_once]
            self._held = self._table.read(ahead).iloc[self._rows]
        column: pd.Series[Any] = self._held[name]
        return column
