"""Turns the cells of one column of a request into what the model's file is given.

The rules are those of ``predict``: each cell is read alone, text is read as the number or the name
that it denotes, and what cannot be read is missing.

Letters: N rows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from jamba_ray.data.number_format import PLAIN, NumberFormat, is_unset

Cells: TypeAlias = Sequence[Any] | npt.NDArray[Any]
"""The cells [N] of a column as a body holds them; an array: numbers that need no reading."""

_NUMBERS = frozenset((int, float, bool, type(None)))
_PLAIN_CELLS = frozenset((int, float, bool, type(None), str))
_REMEMBERED = 4096
"""Texts of a column whose name is remembered; most columns have a few."""
_TRUTHS = {"true": 1.0, "false": 0.0}


class CellError(ValueError):
    """Reports a column that the model cannot take; the message is a sentence."""


@dataclass(frozen=True)
class Column:
    """Describes one column of the model."""

    name: str
    input: str
    """What the model's file calls it."""
    is_number: bool
    format: NumberFormat = PLAIN
    must_be_number: bool = False
    """Whether training had numbers that count, and not only whether a cell is set."""
    categories: tuple[str, ...] = ()
    typical: Any = None
    """The median, or the commonest name."""
    _known: frozenset[str] = field(init=False, repr=False, compare=False)
    _has_number_names: bool = field(init=False, repr=False, compare=False)
    _names: dict[str, str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        put = object.__setattr__
        put(self, "_known", frozenset(self.categories))
        put(self, "_has_number_names", any(not math.isnan(PLAIN.number(c)) for c in self._known))
        put(self, "_names", {})

    def array(self, cells: Cells) -> npt.NDArray[Any]:
        """Returns the cells [N] as float64 or as text.

        Raises:
            CellError: A cell is a list or an object, or the column holds something else than in
                training.
        """
        return self._numbers(cells) if self.is_number else self._texts(cells)

    def _numbers(self, cells: Cells) -> npt.NDArray[np.float64]:
        if isinstance(cells, np.ndarray):
            return cells.astype(np.float64, copy=False)
        kinds = set(map(type, cells))
        if kinds <= _NUMBERS:
            try:
                return np.array(cells, dtype=np.float64)
            except OverflowError:  # an integer past 1e308
                pass
        self._refuse_nested(kinds, cells)
        found = np.array([self._number(cell) for cell in cells], dtype=np.float64)
        if self.must_be_number and np.isnan(found).all():
            odd = next((c for c in cells if isinstance(c, str) and not is_unset(c)), None)
            if odd is not None:
                raise CellError(
                    f"column {self.name!r} must hold numbers, as in training, but none of its "
                    f"cells is one, such as {odd.strip()[:40]!r}; check that columns are not "
                    "mixed up."
                )
        return found

    def _number(self, cell: Any) -> float:
        if isinstance(cell, str):
            if self.must_be_number and (truth := _TRUTHS.get(cell.strip().lower())) is not None:
                return truth
            return self.format.number(cell)
        if cell is None:
            return math.nan
        try:
            return float(cell)
        except OverflowError:
            return math.inf if cell > 0 else -math.inf

    def _texts(self, cells: Cells) -> npt.NDArray[np.object_]:
        if isinstance(cells, np.ndarray):
            cells = cells.tolist()
        kinds = set(map(type, cells))
        self._refuse_nested(kinds, cells)
        names = [self._name(cell) for cell in cells]
        if not self._has_number_names and self._known.isdisjoint(names):
            self._refuse_numbers(cells)
        return np.array(names, dtype=object)

    def _name(self, cell: Any) -> str:
        if isinstance(cell, str):
            found = self._names.get(cell)
            if found is None:
                found = self._alias(cell)
                if len(self._names) < _REMEMBERED and len(cell) <= 64:
                    self._names[cell] = found
            return found
        if cell is None or cell != cell:
            return ""
        if isinstance(cell, float) and cell.is_integer():
            return str(int(cell))
        return str(cell).lower() if isinstance(cell, bool) else self._alias(str(cell))

    def _alias(self, text: str) -> str:
        """Returns the name that a text denotes, in whatever notation."""
        plain = text.strip()
        if plain in self._known or not plain:
            return plain
        if plain.lower() in _TRUTHS:
            return plain.lower()
        try:
            number = float(plain)
        except ValueError:
            return plain
        return str(int(number)) if number.is_integer() else str(number)

    def _refuse_nested(self, kinds: set[type], cells: Cells) -> None:
        if kinds <= _PLAIN_CELLS:
            return
        odd = next(cell for cell in cells if type(cell) not in _PLAIN_CELLS)
        what = "a list" if isinstance(odd, list) else "an object"
        raise CellError(
            f"column {self.name!r} must hold plain values, but holds {what}; send numbers, text or "
            "null."
        )

    def _refuse_numbers(self, cells: Cells) -> None:
        """Refuses numbers where training had names, none of which is there."""
        present = [cell for cell in cells if cell is not None and cell == cell and cell != ""]
        if not present or not self.categories or not all(map(_is_number, present)):
            return
        raise CellError(
            f"column {self.name!r} must hold names such as {self.categories[0]!r}, as in training, "
            "but holds numbers; check that columns are not mixed up."
        )


def _is_number(cell: Any) -> bool:
    if isinstance(cell, str):
        return not math.isnan(PLAIN.number(cell))
    return not isinstance(cell, bool)
