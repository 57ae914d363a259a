"""Adds the nodes that turn raw columns into features, as ``Preprocessor.transform`` does.

Every step is in float64 and in the same order as there, so that features are equal to the bit.

Letters: N rows, F_n numeric and F_c categorical features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from jamba_ray.data import Preprocessor
from jamba_ray.data.fitted_columns import NumericColumn
from jamba_ray.data.scaling import LIMIT, LinearScale, QuantileScale
from jamba_ray.exports.graph import Graph

OUTPUTS = ("score", "alert", "threshold", "probability")
"""Names that an output may have, so that no input has them."""


def input_names(preprocessor: Preprocessor) -> dict[str, str]:
    """Returns the name of the input of each column: its own, unless an output has it."""
    taken = set(preprocessor.columns)
    names = {}
    for column in preprocessor.columns:
        name = column
        while (
            name in OUTPUTS
            or name.startswith(("/", "alert_"))
            or (name != column and name in taken)
        ):
            name = f"column {name}"
        names[column] = name
        taken.add(name)
    return names


def numbers_of(preprocessor: Preprocessor) -> tuple[str, ...]:
    """Returns the columns that are given as numbers; the others are given as text."""
    numeric = [c.name for c in preprocessor.numeric]
    numeric += [c.name for c in preprocessor.categorical if c.tells_missing]
    return tuple(dict.fromkeys(numeric))


def features(g: Graph, preprocessor: Preprocessor) -> tuple[str | None, str | None]:
    """Adds an input for each column; returns x_num float32 [N, F_n] and x_cat int64 [N, F_c].

    Either is None where there is no such feature.
    """
    names, numbers = input_names(preprocessor), numbers_of(preprocessor)
    given = {
        column: g.input(name, "double" if column in numbers else "string")
        for column, name in names.items()
    }
    x_num = _numeric(g, preprocessor.numeric, given) if preprocessor.numeric else None
    codes = [
        _present(g, given[c.name]) if c.tells_missing else _codes(g, given[c.name], c.categories)
        for c in preprocessor.categorical
    ]
    return x_num, side_by_side(g, codes) if codes else None


def side_by_side(g: Graph, columns: Sequence[str]) -> str:
    """Joins columns [N] to a matrix [N, F]."""
    axis = g.constant([1], np.int64)
    return g("Concat", *(g("Unsqueeze", one, axis) for one in columns), axis=1)


def _codes(g: Graph, column: str, categories: Sequence[str]) -> str:
    return g(
        "LabelEncoder",
        column,
        domain="ai.onnx.ml",
        keys_strings=list(categories),
        values_int64s=list(range(1, len(categories) + 1)),
        default_int64=0,
    )


def _present(g: Graph, column: str) -> str:
    return g("Cast", g("Not", g("IsNaN", column)), to=7)  # int64


def _numeric(g: Graph, columns: Sequence[NumericColumn], given: Mapping[str, str]) -> str:
    linear = [c for c in columns if isinstance(c.scale, LinearScale)]
    quantile = [c for c in columns if isinstance(c.scale, QuantileScale)]
    parts = [_linear(g, linear, given)] if linear else []
    parts += [_quantile(g, quantile, given)] if quantile else []
    scaled = parts[0] if len(parts) == 1 else g("Concat", *parts, axis=1)
    if len(parts) == 2:
        order = [(*linear, *quantile).index(c) for c in columns]
        scaled = g("Gather", scaled, g.constant(order, np.int64), axis=1)
    return g("Cast", scaled, to=1)  # float32


def _finite(g: Graph, columns: Sequence[NumericColumn], given: Mapping[str, str]) -> str:
    """Fills gaps and infinities [N, F_n], and divides by the units."""
    x = side_by_side(g, [given[c.name] for c in columns])
    x = g("Where", g("IsNaN", x), _row(g, [c.fill for c in columns]), x)
    for limit, ends in ((np.inf, [c.high for c in columns]), (-np.inf, [c.low for c in columns])):
        x = g("Where", g("Equal", x, g.constant(limit, np.float64)), _row(g, ends), x)
    units = [c.scale.unit for c in columns]
    return g("Div", x, _row(g, units))


def _linear(g: Graph, columns: Sequence[NumericColumn], given: Mapping[str, str]) -> str:
    scales = [c.scale for c in columns if isinstance(c.scale, LinearScale)]
    x = g("Sub", _finite(g, columns, given), _row(g, [s.center for s in scales]))
    x = g("Div", x, _row(g, [s.spread for s in scales]))
    low, high = g.constant(-LIMIT, np.float64), g.constant(LIMIT, np.float64)
    return g("Clip", x, low, high)


def _quantile(g: Graph, columns: Sequence[NumericColumn], given: Mapping[str, str]) -> str:
    scales = [c.scale for c in columns if isinstance(c.scale, QuantileScale)]
    return interpolated(
        g,
        _finite(g, columns, given),
        [np.asarray(s.values, dtype=np.float64) for s in scales],
        [np.asarray(s.scores, dtype=np.float64) for s in scales],
    )


def interpolated(
    g: Graph,
    x: str,
    values: Sequence[npt.NDArray[np.float64]],
    scores: Sequence[npt.NDArray[np.float64]],
) -> str:
    """Computes x [N, F] between the knots of each column, as ``QuantileScale`` does.

    The knot is found by binary search in all columns at once.
    """
    sizes = np.array([len(v) for v in values], dtype=np.int64)
    starts = np.cumsum([0, *sizes[:-1]]).astype(np.int64)
    x = g("Max", x, _row(g, [v[0] for v in values]))
    x = g("Min", x, _row(g, [v[-1] for v in values]))
    knots, starts_, last = g.constant(np.concatenate(values)), _ints(g, starts), _ints(g, sizes - 1)
    found, step = _ints(g, [0] * len(values)), 1 << int(sizes.max()).bit_length() - 1
    while step:  # how many knots are less than x, from the highest bit on
        tried = g("Add", found, _ints(g, [step]))
        # The last knot is never less, so what lies past it may be compared with it.
        place = g("Min", g("Sub", tried, _ints(g, [1])), last)
        knot = g("Gather", knots, g("Add", place, starts_))
        found = g("Where", g("Less", knot, x), tried, found)
        step >>= 1
    right = g("Add", g("Max", found, _ints(g, [1])), starts_)
    left = g("Sub", right, _ints(g, [1]))
    low, high = g("Gather", knots, left), g("Gather", knots, right)
    table = g.constant(np.concatenate(scores))
    low_score, high_score = g("Gather", table, left), g("Gather", table, right)
    share = g("Div", g("Sub", x, low), g("Sub", high, low))
    return g("Add", low_score, g("Mul", share, g("Sub", high_score, low_score)))


def _row(g: Graph, values: Sequence[float]) -> str:
    return g.constant([values], np.float64)


def _ints(g: Graph, values: Sequence[int] | npt.NDArray[np.int64]) -> str:
    return g.constant([list(values)], np.int64)
