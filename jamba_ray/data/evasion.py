"""Says what an attacker may do to the mutable columns of a row, and keeps changes within it.

Letters: N rows, M mutable columns (numeric ones, in the order of ``data.mutable``), F_n numeric
features. Values are those of the table, before scaling, so that limits hold exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from jamba_ray.config.mutable import MutableColumn
from jamba_ray.config.names import nearest
from jamba_ray.data.fitted_columns import NumericColumn
from jamba_ray.data.preprocessing import Preprocessor
from jamba_ray.data.scaling import QuantileScale
from jamba_ray.errors import DataError

Floats = npt.NDArray[np.float64]
FIXED = 12
"""Changes tried for each row where robustness decides while trials train."""


@dataclass(frozen=True)
class Limits:
    """Holds what may be done to one column."""

    column: NumericColumn
    feature: int
    """Its position among the numeric features."""
    asked: MutableColumn
    spread: float
    """Half the distance between the 16th and the 84th percentile of training."""
    is_whole: bool
    """Whether changed values are whole numbers."""


class Attacker:
    """Holds the limits of every mutable column."""

    def __init__(self, limits: tuple[Limits, ...]) -> None:
        self.limits = limits

    @property
    def columns(self) -> tuple[str, ...]:
        """Returns the names of the mutable columns, [M]."""
        return tuple(one.column.name for one in self.limits)

    @property
    def whole(self) -> list[str]:
        """Returns the names of the columns that get whole numbers alone."""
        return [one.column.name for one in self.limits if one.is_whole]

    @property
    def spread(self) -> Floats:
        """Returns the spread of each column, [M]."""
        return np.array([one.spread for one in self.limits])

    def box(self, raw: Floats) -> tuple[Floats, Floats]:
        """Returns the least and the largest value that each cell [N, M] may get.

        A cell that is missing or infinite, or for which there is no whole number in reach, may not
        change.
        """
        low, high = raw.copy(), raw.copy()
        for j, one in enumerate(self.limits):
            asked, cells = one.asked, raw[:, j]
            reach = asked.budget * one.spread
            least = one.column.low if asked.low is None else asked.low
            most = one.column.high if asked.high is None else asked.high
            down = np.maximum(cells - reach, least) if asked.direction != "up" else cells
            up = np.minimum(cells + reach, most) if asked.direction != "down" else cells
            if one.is_whole:
                down, up = np.ceil(down), np.floor(up)
            # A value that lies outside of the limits already may stay where it is.
            low[:, j] = np.where(down <= cells, down, cells)
            high[:, j] = np.where(up >= cells, up, cells)
        fixed = ~np.isfinite(raw)
        low[fixed], high[fixed] = raw[fixed], raw[fixed]
        return low, high

    def within(self, wanted: Floats, raw: Floats, low: Floats, high: Floats) -> Floats:
        """Returns the values [N, M] nearest to ``wanted`` that keep every limit."""
        found = np.where(np.isfinite(wanted), wanted, raw)
        for j, one in enumerate(self.limits):
            if one.is_whole:
                whole = np.rint(found[:, j])
                found[:, j] = np.where(found[:, j] == raw[:, j], raw[:, j], whole)
        with np.errstate(invalid="ignore"):
            found = np.clip(found, low, high)
        return np.where(np.isfinite(raw), found, raw)

    def scaled(self, raw: Floats) -> npt.NDArray[np.float32]:
        """Returns the features [N, M] of values [N, M]."""
        found = np.empty(raw.shape, dtype=np.float32)
        for j, one in enumerate(self.limits):
            found[:, j] = one.column(raw[:, j])
        return found

    def unscaled(self, features: Floats) -> Floats:
        """Returns values [N, M] that have these features, to rounding."""
        found = np.empty(features.shape, dtype=np.float64)
        for j, one in enumerate(self.limits):
            found[:, j] = one.column.scale.inverse(features[:, j])
        return found

    def applied(self, x_num: npt.NDArray[np.float32], raw: Floats) -> npt.NDArray[np.float32]:
        """Returns the rows [N, F_n] with the values [N, M] in the mutable columns."""
        found = np.array(x_num)
        found[:, [one.feature for one in self.limits]] = self.scaled(raw)
        return found

    def fixed(self, raw: Floats) -> Floats:
        """Returns ``FIXED`` changes of each row, [FIXED, N, M], which depend on no model.

        All columns at one end, each column alone, then corners drawn by a fixed seed: enough to
        rank models that are attacked alike, at a known cost.
        """
        low, high = self.box(raw)
        m = len(self.limits)
        rng = np.random.default_rng(0)
        ends = [np.zeros(m), np.ones(m)]
        for j in range(m):
            for end in (0.0, 1.0):
                ends.append(np.where(np.arange(m) == j, end, np.nan))
        ends = ends[:FIXED]
        while len(ends) < FIXED:
            ends.append(rng.choice([0.0, 1.0, np.nan], m))
        found = [np.where(e == 0.0, low, np.where(e == 1.0, high, raw)) for e in ends]
        return np.stack(found)


def attacker_of(
    preprocessor: Preprocessor,
    mutable: Mapping[str, MutableColumn],
    whole: Callable[[str], bool],
) -> Attacker:
    """Returns the limits of the columns in ``mutable``; ``whole`` says of a column whether its
    values are whole numbers.

    Raises:
        DataError: One is no numeric feature.
    """
    places = {column.name: j for j, column in enumerate(preprocessor.numeric)}
    limits = []
    for name, asked in mutable.items():
        if name not in places:
            kind = "a column of names" if name in preprocessor.columns else "none"
            raise DataError(
                f"data.mutable must name numeric features, but {name!r} is {kind}"
                f"{nearest(name, places) or '; leave it out, or see data.numeric.'}"
            )
        column = preprocessor.numeric[places[name]]
        is_whole = whole(name) if asked.integer is None else asked.integer
        limits.append(Limits(column, places[name], asked, _spread(column), is_whole))
    return Attacker(tuple(limits))


def _spread(column: NumericColumn) -> float:
    """Returns half the distance between the 16th and the 84th percentile; where they are one (most
    values are zero), the standard deviation of a normal column with the same ends."""
    low, high = column.scale.inverse(np.array([-1.0, 1.0]))
    if isinstance(column.scale, QuantileScale) and not high > low:
        scores = column.scale.scores
        return (column.high - column.low) / (scores[-1] - scores[0])
    return float(high - low) / 2.0
