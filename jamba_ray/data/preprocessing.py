"""Turns a user's table into matrices: fitted on the training rows, saved as JSON with every
checkpoint.

Letters: N rows, F_n numeric features, F_c categorical features.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from pandas.api import types

from jamba_ray.config.data import PreprocessingSection
from jamba_ray.config.names import nearest
from jamba_ray.data.cells import Counted, to_names, to_numbers, unreadable
from jamba_ray.data.columns import Roles
from jamba_ray.data.fitted_columns import (
    CategoricalColumn,
    NumericColumn,
    codes_of,
    fit_numeric,
    frequent,
)
from jamba_ray.data.number_format import PLAIN, NumberFormat
from jamba_ray.data.prepared import FeatureSchema
from jamba_ray.data.raw_table import RawColumns
from jamba_ray.data.scaling import Floats, scale_from_json
from jamba_ray.errors import DataError

VERSION = 2
_PRESENT = "present"


@dataclass(frozen=True)
class Known:
    """Holds what the training rows hold in one column: its ends, or its names."""

    ends: tuple[float, float] = (0.0, 0.0)
    names: frozenset[str] | None = None
    chance: float = 0.0
    """Expected share of rows beyond them, where nothing has changed (Good and Turing)."""


class Preprocessor:
    """Holds everything that was learnt from the training rows about their columns."""

    def __init__(
        self,
        numeric: tuple[NumericColumn, ...],
        categorical: tuple[CategoricalColumn, ...],
        formats: Mapping[str, NumberFormat] | None = None,
    ) -> None:
        self.numeric = numeric
        self.categorical = categorical
        self.formats = formats or {}
        """How numbers are written, by column, where that is not ``PLAIN``."""

    @classmethod
    def fit(
        cls, train: pd.DataFrame | RawColumns, roles: Roles, section: PreprocessingSection
    ) -> tuple[Preprocessor, tuple[str, ...]]:
        """Fits to the training rows; also returns notes on columns found useless or dirty."""
        numeric: list[NumericColumn] = []
        categorical: list[CategoricalColumn] = []
        indicators: list[CategoricalColumn] = []
        notes: list[str] = []
        for name in roles.numeric:
            values = to_numbers(train[name], roles.formats.get(name, PLAIN))
            column, note = fit_numeric(name, values, section)
            notes += [note] if note else []
            if column is not None:
                numeric.append(column)
            if 0 < np.isnan(values).sum() < len(values):
                indicators.append(CategoricalColumn(name, (_PRESENT,), tells_missing=True))
        for name in roles.categorical:
            categories = frequent(train[name], section)
            if categories:
                categorical.append(CategoricalColumn(name, categories))
            else:
                notes.append(
                    f"Column {name!r} has no value that occurs {section.rare_below} times in the "
                    "training rows and is left out."
                )
        if not numeric and not categorical and not indicators:
            raise DataError(
                "the data must have at least one usable feature, but has none: "
                + " ".join(notes)[:300].replace("Column", "column", 1)
            )
        fitted = cls(tuple(numeric), (*categorical, *indicators))
        kept = {name: form for name, form in roles.formats.items() if name in fitted.columns}
        return cls(fitted.numeric, fitted.categorical, kept), tuple(notes)

    @property
    def columns(self) -> tuple[str, ...]:
        """Returns the table columns that ``transform`` reads."""
        names = [c.name for c in self.numeric] + [c.name for c in self.categorical]
        return tuple(dict.fromkeys(names))

    def of_columns(self, names: Collection[str]) -> tuple[list[int], list[int], Preprocessor]:
        """Returns a preprocessor of some columns alone.

        Before it come the positions of its numeric and categorical features among all.
        """
        numbers = [j for j, c in enumerate(self.numeric) if c.name in names]
        codes = [j for j, c in enumerate(self.categorical) if c.name in names]
        some = Preprocessor(
            tuple(self.numeric[j] for j in numbers),
            tuple(self.categorical[j] for j in codes),
            {name: form for name, form in self.formats.items() if name in names},
        )
        return numbers, codes, some

    @property
    def schema(self) -> FeatureSchema:
        """Returns what a model has to know of the features."""
        return FeatureSchema(
            numeric=tuple(c.name for c in self.numeric),
            categorical=tuple(c.feature for c in self.categorical),
            cardinalities=tuple(len(c.categories) + 1 for c in self.categorical),
            bin_edges=tuple(c.bin_edges for c in self.numeric),
        )

    def transform(
        self, frame: pd.DataFrame, *, source: str = "the rows"
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """Transforms ``frame`` to x_num [N, F_n], finite, and x_cat [N, F_c]; other columns are
        ignored.

        Cells may be anything: what is no number in a numeric column counts as missing, an unseen
        category as unknown. Raises DataError, naming ``source``, where a column is missing or comes
        twice.
        """
        x_num, x_cat, _ = self.transform_and_count(frame, source=source)
        return x_num, x_cat

    def transform_and_count(
        self, frame: pd.DataFrame, *, source: str = "the rows"
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64], dict[str, int]]:
        """Does what ``transform`` does, and counts by column the cells that are taken as
        missing."""
        check_columns(list(frame.columns), self.columns, source)
        x_num = np.empty((len(frame), len(self.numeric)), dtype=np.float32)
        x_cat = np.zeros((len(frame), len(self.categorical)), dtype=np.int64)
        missing: dict[str, int] = {}
        indicators = {c.name: j for j, c in enumerate(self.categorical) if c.tells_missing}
        scaled = {c.name: j for j, c in enumerate(self.numeric)}
        for name in dict.fromkeys((*scaled, *indicators)):
            values = self._numbers(frame[name])
            gaps = np.isnan(values)
            missing[name] = int(gaps.sum())
            if name in scaled:
                x_num[:, scaled[name]] = self.numeric[scaled[name]](values)
            if name in indicators:
                x_cat[:, indicators[name]] = ~gaps
        for j, column in enumerate(self.categorical):
            if not column.tells_missing:
                codes, missing[column.name] = codes_of(frame[column.name], column.categories)
                x_cat[:, j] = codes
        return x_num, x_cat, missing

    def known(self, frame: pd.DataFrame) -> dict[str, Known]:
        """Returns by column what the training rows hold, to tell later what they do not."""
        numbers = {c.name: (c.low, c.high) for c in self.numeric}
        names = {}
        for column in self.categorical:
            if not column.tells_missing:
                codes, found = to_names(frame[column.name])
                once = int((np.bincount(codes[codes >= 0], minlength=len(found)) == 1).sum())
                names[column.name] = Known(names=frozenset(found), chance=once / len(frame))
        # A new row lies beyond the lowest or highest of n with probability 2 / (n + 1).
        beyond = 2.0 / (len(frame) + 1)
        return names | {name: Known(ends, chance=beyond) for name, ends in numbers.items()}

    def unseen(
        self, frame: pd.DataFrame, known: Mapping[str, Known]
    ) -> dict[str, npt.NDArray[np.bool_]]:
        """Says by column [N] which cells hold a number beyond, or a name not among, the known
        ones."""
        found = {}
        for name, one in known.items():
            if one.names is None:
                values = self._numbers(frame[name])
                low, high = one.ends
                found[name] = (values < low) | (values > high)
            else:
                codes, names = to_names(frame[name])
                new = np.array([n not in one.names for n in names] + [False], dtype=bool)
                found[name] = new[codes]
        return found

    def unreadable(self, frame: pd.DataFrame) -> dict[str, Counted]:
        """Counts, for numeric columns, the cells that are set but are no number; columns without
        any are left out.

        Only text can hold such cells, so columns of numbers cost nothing.
        """
        numeric = [c.name for c in self.numeric] + [
            c.name for c in self.categorical if c.tells_missing
        ]
        found = {
            name: unreadable(frame[name], self.formats.get(name, PLAIN))
            for name in dict.fromkeys(numeric)
        }
        return {name: odd for name, odd in found.items() if odd.cells}

    def misread(self, frame: pd.DataFrame) -> dict[str, float]:
        """Finds columns whose points between thousands a reader of files took for decimal points.

        Training read them between thousands; each comes with such a number.
        """
        found = {}
        for name, form in self.formats.items():
            if form.thousands != "." or not types.is_float_dtype(frame[name].dtype):
                continue
            values = to_numbers(frame[name])
            parts = values[np.isfinite(values) & (values % 1 != 0)]
            # '1.234' became 1.234: three digits at most on either side of the point.
            if len(parts) and (np.abs(parts) < 1000).all():
                thousands = parts * 1000
                if np.allclose(thousands, np.round(thousands), rtol=0.0, atol=1e-6):
                    found[name] = float(parts[0])
        return found

    def _numbers(self, column: pd.Series[Any]) -> Floats:
        return to_numbers(column, self.formats.get(str(column.name), PLAIN))

    def to_json(self) -> dict[str, Any]:
        """Returns strict JSON from which ``from_json`` makes the same transform, bit for bit."""
        formats = {name: form.to_json() for name, form in self.formats.items()}
        return {
            # Version 1 does not know formats, so what has some must not be read by it.
            **({"version": VERSION, "formats": formats} if formats else {"version": 1}),
            "numeric": [
                {
                    "name": c.name,
                    "low": c.low,
                    "high": c.high,
                    "fill": c.fill,
                    "scale": c.scale.to_json(),
                    "bin_edges": list(c.bin_edges),
                }
                for c in self.numeric
            ],
            "categorical": [
                {
                    "name": c.name,
                    "categories": list(c.categories),
                    "tells_missing": c.tells_missing,
                }
                for c in self.categorical
            ],
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Preprocessor:
        """Makes a preprocessor from what ``to_json`` returned.

        Raises:
            DataError: It is of a version that this code does not know.
        """
        if value.get("version") not in (1, VERSION):
            raise DataError(
                f"preprocessing must have version 1 or {VERSION}, but has "
                f"{value.get('version')!r}; load the checkpoint with the jamba_ray that wrote it."
            )
        numeric = tuple(
            NumericColumn(
                name=c["name"].strip(),
                low=c["low"],
                high=c["high"],
                fill=c["fill"],
                scale=scale_from_json(c["scale"]),
                bin_edges=tuple(c["bin_edges"]),
            )
            for c in value["numeric"]
        )
        categorical = tuple(
            CategoricalColumn(c["name"].strip(), tuple(c["categories"]), c["tells_missing"])
            for c in value["categorical"]
        )
        formats = value.get("formats", {})
        return cls(
            numeric, categorical, {n: NumberFormat.from_json(form) for n, form in formats.items()}
        )


def check_columns(present: Sequence[str], wanted: Collection[str], source: str) -> None:
    """Checks that each of ``wanted`` is there once.

    Raises:
        DataError: One is not; the sentence names ``source``.
    """
    missing = [name for name in wanted if name not in present]
    if missing:
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        raise DataError(
            f"{source} must have the columns that training had, but lacks "
            f"{', '.join(map(repr, missing[:5]))}{more}"
            f"{nearest(missing[0], map(str, present)) or '; add them, empty where unknown.'}"
        )
    twice = sorted({name for name in wanted if present.count(name) > 1})
    if twice:
        raise DataError(
            f"column names of {source} must differ, but {twice[0]!r} comes twice or more; "
            "rename one."
        )
