"""Describes what a model's file takes, and turns the columns of a request into its inputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from jamba_ray.config.names import nearest
from jamba_ray.data.number_format import PLAIN, NumberFormat
from jamba_ray.serving.column import CellError, Cells, Column

MISTAKES = 5
"""Sentences of one answer at most."""


class SchemaError(Exception):
    """Reports rows that the model cannot take, one sentence for each mistake."""

    def __init__(self, mistakes: Sequence[str]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = tuple(mistakes)


@dataclass(frozen=True)
class Schema:
    """Holds the columns of a model, in the order of its file."""

    columns: tuple[Column, ...]

    @classmethod
    def of(cls, metadata: Mapping[str, Any]) -> Schema:
        """Reads what ``jamba-ray export`` wrote beside the model.

        Raises:
            KeyError, TypeError, ValueError: It wrote something else.
        """
        fitted = metadata["preprocessing"]
        numeric = {c["name"].strip(): c for c in fitted["numeric"]}
        named = {c["name"].strip(): c for c in fitted["categorical"] if not c["tells_missing"]}
        return cls(tuple(_columns(metadata["columns"], numeric, named)))

    @property
    def names(self) -> tuple[str, ...]:
        """Returns the names of the columns."""
        return tuple(column.name for column in self.columns)

    def cells(self, rows: Mapping[str, Cells]) -> dict[str, npt.NDArray[Any]]:
        """Returns input -> its values [N]; columns that the model lacks are left out.

        Raises:
            SchemaError: A column is missing, or holds something else than in training.
        """
        found: dict[str, npt.NDArray[Any]] = {}
        mistakes: list[str] = []
        missing: list[str] = []
        for column in self.columns:
            cells = rows.get(column.name)
            if cells is None:
                missing.append(column.name)
                continue
            try:
                found[column.input] = column.array(cells)
            except CellError as error:
                mistakes.append(str(error))
        if missing:
            mistakes.insert(0, self._lacks(missing, rows))
        if mistakes:
            raise SchemaError(mistakes[:MISTAKES])
        return found

    def _lacks(self, missing: Sequence[str], rows: Mapping[str, Cells]) -> str:
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        others = [name for name in rows if name not in self.names]
        hint = nearest(missing[0], others) or "; add them, null where unknown."
        return (
            "the rows must have the columns that training had, but lack "
            f"{', '.join(map(repr, missing[:5]))}{more}{hint}"
        )

    def unknown(self, names: Sequence[str]) -> list[str]:
        """Returns a sentence on each column that the model does not use and that may be a
        misspelt one."""
        if len(names) == len(self.columns):  # nothing is missing, so nothing is unknown
            return []
        mine = set(self.names)
        return [
            f"the column {name!r} is not used by the model{hint}"
            for name in names
            if name not in mine and (hint := nearest(name, self.names))
        ]

    def typical(self) -> dict[str, npt.NDArray[Any]]:
        """Returns the inputs of one row of medians and commonest names."""
        return {
            c.input: np.array([c.typical], dtype=np.float64 if c.is_number else object)
            for c in self.columns
        }

    def to_json(self) -> list[dict[str, Any]]:
        """Returns what a client has to know of each column."""
        return [
            {"column": c.name, "type": "number" if c.is_number else "text"}
            | ({"names": list(c.categories[:50])} if c.categories else {})
            | ({"format": c.format.to_json()} if c.format != PLAIN else {})
            for c in self.columns
        ]


def _columns(
    described: Sequence[Mapping[str, Any]],
    numeric: Mapping[str, Mapping[str, Any]],
    named: Mapping[str, Mapping[str, Any]],
) -> Iterator[Column]:
    for one in described:
        name, is_number = one["column"], one["type"] == "float64"
        categories = () if is_number else tuple(map(str, named[name]["categories"]))
        typical: Any = categories[0] if categories else ""
        if is_number:
            typical = float(numeric[name]["fill"]) if name in numeric else 0.0
        yield Column(
            name,
            one["input"],
            is_number,
            NumberFormat.from_json(one["format"]) if "format" in one else PLAIN,
            must_be_number=name in numeric,
            categories=categories,
            typical=typical,
        )
