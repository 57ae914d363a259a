"""Measures how test and newest rows differ from those that train, and what columns give away.

On at most ``MOST_ROWS`` rows for each comparison, drawn by a fixed seed, so that it takes seconds
whatever the data; ``shift`` decides what is said of it.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from jamba_ray.config.data import DataSection, SyntheticSection, TableSection
from jamba_ray.data.adversary import Features, Side, Told, row_keys, tell_apart
from jamba_ray.data.duplicates import is_near, keys_but_one
from jamba_ray.data.prepared import FeatureSchema, PreparedData, Rows
from jamba_ray.data.shift import FOLLOWS, NEAR, SURELY_APART, Apart, Measured, Roles, findings

MOST_ROWS = 12_000
"""Rows of a comparison, half of each side."""
FEWEST_ROWS = 100
"""Rows of a side below which nothing is measured."""
_NEWEST = 0.2
_GIVES_AWAY = 0.05
"""Share of a column in what was gained, from which it is named."""
_MAIN = 0.3
"""Share of a column in what was gained, from which it may be the only reason."""
_TELLS = 0.998
"""ROC AUC of one or two columns from which they tell the label."""
_SUSPECTS = 6
_FEW_VALUES = 20


def checked(data: PreparedData, section: DataSection) -> PreparedData:
    """Returns the data with what was found in ``overview`` and ``notes``."""
    if not section.check_shift:
        return data
    found = measured(data)
    roles = roles_of(section, data)
    said = findings(found, roles)
    shift = {
        "rows": MOST_ROWS,
        "comparisons": [one.to_json() for one in found.apart],
        "near": {part: share for part, (share, _) in found.near.items()},
        "unseen": {part: dict(one) for part, one in found.unseen.items()},
        "to_come": to_come(found, roles),
        "findings": [one.to_json() for one in said],
    }
    return replace(
        data,
        overview={**data.overview, "shift": shift},
        notes=(*data.notes, *(one.sentence for one in said)),
    )


def to_come(found: Measured, roles: Roles) -> dict[str, Any] | None:
    """Returns how far the newest rows, or the test's, are from validation rows drawn by chance.

    None where there is no such comparison: of another split validation is no draw of training rows.
    """
    if roles.kind != "random":
        return None
    parts = [one for one in found.apart if one.part in ("test", "newest")]
    return max(parts, key=lambda one: one.low).to_json() if parts else None


def roles_of(section: DataSection, data: PreparedData) -> Roles:
    """Returns the settings that are there to mend something with."""
    kind = str(data.overview.get("split", {}).get("kind", section.split.kind))
    if isinstance(section, TableSection):
        return Roles(kind, section.timestamp, section.group, section.drop)
    return Roles(kind, is_table=not isinstance(section, SyntheticSection))


def measured(data: PreparedData) -> Measured:
    """Measures everything that ``shift`` decides on."""
    parts = {"train": data.train, "val": data.val, **data.tests}
    kind = data.overview.get("split", {}).get("kind", "random")
    names = (*data.schema.numeric, *data.schema.categorical)
    train = _Sample.of(data.train, MOST_ROWS, 0)
    return Measured(
        apart=_all_apart(data, kind, names),
        threats={name: (int(rows.y.sum()), len(rows)) for name, rows in parts.items()},
        unseen=data.overview.get("unseen", {}),
        near=_near(data),
        telling=_telling(train, names),
        follows=_follows(train, names),
        encodes_group=_encodes_group(train, data.schema),
    )


class _Sample:
    """Holds some rows: features x [N, F] side by side, labels, groups and order."""

    def __init__(self, rows: Rows, at: npt.NDArray[np.int64]) -> None:
        self.x = features_of(rows, at)
        self.y: Side = rows.y[at] == 1
        self.group = None if rows.group is None else rows.group[at]
        order = order_of(rows)
        self.order = None if order is None else order[at]

    def __len__(self) -> int:
        return len(self.y)

    def in_order(self) -> Features:
        """Returns the features x [N, F] in the order of time, or of the table."""
        return self.x if self.order is None else self.x[np.argsort(self.order, kind="stable")]

    @classmethod
    def of(cls, rows: Rows, most: int, seed: int) -> _Sample:
        """Draws ``most`` of the rows, in their order, or takes all of fewer."""
        return cls(rows, _drawn(np.arange(len(rows)), most, seed))


def features_of(rows: Rows, at: npt.NDArray[np.int64] | None = None) -> Features:
    """Returns the features x [n, F] of the rows ``at``, or of all, side by side."""
    x_num, x_cat = (rows.x_num, rows.x_cat) if at is None else (rows.x_num[at], rows.x_cat[at])
    return np.concatenate([x_num, x_cat.astype(np.float32)], axis=1)


def some_features(rows: Rows, most: int, seed: int) -> Features:
    """Returns the features of ``most`` rows, drawn and in their order, or of all of fewer."""
    return features_of(rows, _drawn(np.arange(len(rows)), most, seed))


def order_of(rows: Rows) -> npt.NDArray[Any] | None:
    """Returns the times of rows [N], or where they stand in their table."""
    if rows.time is None:
        return rows.place
    return rows.time.view(np.int64) if rows.time.dtype.kind == "M" else rows.time


def _drawn(at: npt.NDArray[np.int64], most: int, seed: int) -> npt.NDArray[np.int64]:
    if len(at) <= most:
        return at
    return np.sort(np.random.default_rng(seed).choice(at, most, replace=False))


# --- rows of another part ----------------------------------------------------------------------


def _all_apart(data: PreparedData, kind: str, names: tuple[str, ...]) -> tuple[Apart, ...]:
    """Compares the tests with the training rows; validation too, and the newest rows, where they
    may differ.

    A test that was drawn by chance is like the training rows by construction.
    """
    drawn = data.overview.get("split", {}).get("cut", ()) if kind == "random" else ()
    others = {name: rows for name, rows in data.tests.items() if name not in drawn}
    if kind != "random":
        others = {"val": data.val, **others}
    train = _Sample.of(data.train, MOST_ROWS // 2, 1)
    found = [
        _apart(name, _Sample.of(rows, MOST_ROWS // 2, 2).in_order(), train.in_order(), names)
        for name, rows in others.items()
        if min(len(rows), len(data.train)) >= FEWEST_ROWS
    ]
    if kind == "random" and (sides := newest_and_older(data.train)) is not None:
        found.append(_apart("newest", *sides, names))
    return tuple(found)


def _apart(part: str, here: Features, there: Features, names: tuple[str, ...]) -> Apart:
    x = np.concatenate([here, there])
    side = np.arange(len(x)) < len(here)
    told = tell_apart(x, side)
    most = np.argsort(-told.gains)
    columns = tuple(names[j] for j in most[:5] if told.gains[j] >= _GIVES_AWAY)
    found = Apart(part, told.auc, told.low, told.high, columns)
    if found.differs:
        return replace(found, without=_without(told, x, side, names))
    return found


def _without(told: Told, x: Features, side: Side, names: tuple[str, ...]) -> tuple[str, ...]:
    """Returns at most three columns without which the sides are no longer told apart."""
    left, dropped = np.arange(x.shape[1]), list[str]()
    while len(dropped) < 3 and len(left) > 1:
        worst = int(np.argmax(told.gains))
        if told.gains[worst] < _MAIN:  # without this one the others still tell them apart
            return ()
        dropped.append(names[left[worst]])
        left = np.delete(left, worst)
        told = tell_apart(x[:, left], side)
        if told.auc < SURELY_APART:
            return tuple(dropped)
    return ()


def newest_and_older(rows: Rows) -> tuple[Features, Features] | None:
    """Returns the newest fifth of the rows and as many older ones with the same share of threats.

    So that files which follow their labels are not told apart by these.
    """
    if order_of(rows) is None or len(rows) < 5 * FEWEST_ROWS:
        return None
    some = _Sample.of(rows, 10 * MOST_ROWS, 3)  # of 100 M rows not each place is looked at
    order, threat = np.asarray(some.order), some.y
    edge = np.quantile(order, 1 - _NEWEST)
    newest, older = list[npt.NDArray[np.int64]](), list[npt.NDArray[np.int64]]()
    sizes = {
        label: min(
            int(((order > edge) & (threat == label)).sum()),
            int(((order <= edge) & (threat == label)).sum()),
        )
        for label in (False, True)
    }
    share = min(1.0, MOST_ROWS / 2 / max(sum(sizes.values()), 1))
    for label, size in sizes.items():
        for into, is_newest in ((newest, True), (older, False)):
            at = np.flatnonzero(((order > edge) == is_newest) & (threat == label))
            into.append(_drawn(at, round(size * share), 3))
    at_newest, at_older = np.concatenate(newest), np.concatenate(older)
    if len(at_newest) < FEWEST_ROWS:
        return None
    return some.x[at_newest[np.argsort(order[at_newest])]], some.x[
        at_older[np.argsort(order[at_older])]
    ]


# --- rows that nearly repeat -------------------------------------------------------------------


def _near(data: PreparedData) -> dict[str, tuple[float, float]]:
    """Returns by part the share of its rows that nearly repeat a training row, and the same of its
    rows with each column shuffled.

    Nearly: all columns but one are the same, to a cell of 0.02 standard deviations. Exact repeats
    are counted elsewhere.
    """
    n_numbers = len(data.schema.numeric)
    if not n_numbers or data.schema.input_dim < 3:
        return {}
    train = _Sample.of(data.train, MOST_ROWS * 3 // 4, 4).x
    tests = {name: rows for name, rows in data.tests.items() if name == "test"}
    known, exact = keys_but_one(train, n_numbers), set(row_keys(train).tolist())
    found = {}
    rng = np.random.default_rng(5)
    for name, rows in {"val": data.val, **tests}.items():
        if min(len(rows), len(train)) < FEWEST_ROWS:
            continue
        x = _Sample.of(rows, MOST_ROWS // 4, 6).x
        repeats = np.array([key in exact for key in row_keys(x).tolist()])
        near = float((is_near(x, known, n_numbers) & ~repeats).mean())
        found[name] = (near, near)
        if near >= NEAR:
            shuffled = np.stack([rng.permutation(column) for column in x.T], axis=1)
            found[name] = (near, float(is_near(shuffled, known, n_numbers).mean()))
    return found


# --- columns that give something away ----------------------------------------------------------


def _telling(train: _Sample, names: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
    """Finds columns, alone or in pairs, that tell the label of rows that were not fitted.

    What tells it of every row alone is found by ``leaks``.
    """
    if min(int(train.y.sum()), int((~train.y).sum())) < FEWEST_ROWS // 2:
        return ()
    few = _pairs_of_few_values(train, names)
    told = tell_apart(train.x, train.y)
    if told.auc < _TELLS:  # all columns together do not, so no two of them do
        return few
    suspects = [int(j) for j in np.argsort(-told.gains)[:_SUSPECTS]]
    alone = {j: tell_apart(train.x[:, [j]], train.y).auc for j in suspects}
    if found := [j for j in suspects if alone[j] >= _TELLS]:
        return tuple((names[j],) for j in found if not _parts_all(train.x[:, j], train.y))
    if few:
        return few
    pairs = {
        (names[a], names[b]): tell_apart(train.x[:, [a, b]], train.y).auc
        for a, b in combinations(suspects, 2)
    }
    best = max(pairs, key=lambda pair: pairs[pair], default=())
    return (best,) if best and pairs[best] >= _TELLS else ()


def _parts_all(values: npt.NDArray[np.float32], y: Side) -> bool:
    """Says whether each value has one label, or a threshold parts them: ``leaks`` has told it."""
    distinct, at = np.unique(values, return_inverse=True)
    share = np.bincount(at, y, len(distinct)) / np.bincount(at, minlength=len(distinct))
    few = len(distinct) <= 100 and bool(((share == 0) | (share == 1)).all())
    parted = values[y].min() > values[~y].max() or values[~y].min() > values[y].max()
    return few or bool(parted)


def _pairs_of_few_values(train: _Sample, names: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
    """Finds pairs of columns with few values that decide the label, such as a XOR b.

    Trees may not see it. Pairs of which one decides it alone do not count.
    """
    codes: dict[int, npt.NDArray[np.int64]] = {}
    for j in range(train.x.shape[1]):
        distinct, at = np.unique(train.x[:, j], return_inverse=True)
        if 2 <= len(distinct) <= _FEW_VALUES and not _pure(at, train.y):
            codes[j] = at
    return tuple(
        (names[a], names[b])
        for a, b in combinations(list(codes)[:40], 2)
        if _pure(codes[a] * (_FEW_VALUES + 1) + codes[b], train.y)
    )[:3]


def _pure(codes: npt.NDArray[np.int64], y: Side) -> bool:
    rows = np.bincount(codes)
    threats = np.bincount(codes, y, len(rows))
    cells = int((rows > 0).sum())
    return bool(((threats == 0) | (threats == rows)).all()) and cells * 10 <= len(y)


def _follows(train: _Sample, names: tuple[str, ...]) -> dict[str, float]:
    """Returns the columns that follow the order of the rows, with their rank correlation."""
    if train.order is None or len(train) < FEWEST_ROWS:
        return {}
    found = {}
    order = _ranks(train.order)
    for j, name in enumerate(names):
        if (values := train.x[:, j]).min() < values.max():
            correlation = float(np.corrcoef(order, _ranks(values))[0, 1])
            if abs(correlation) >= FOLLOWS:
                found[name] = correlation
    return found


def _ranks(values: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    from scipy.stats import rankdata  # type: ignore[import-untyped]

    ranks: npt.NDArray[np.float64] = rankdata(values)
    return ranks


def _encodes_group(train: _Sample, schema: FeatureSchema) -> tuple[str, ...]:
    """Returns the categorical columns with a value of its own for each group, and the reverse."""
    if train.group is None or len(train) < FEWEST_ROWS:
        return ()
    _, groups = np.unique(train.group, return_inverse=True)
    n_groups = int(groups.max()) + 1
    found = []
    if n_groups < 5:
        return ()
    for j, name in enumerate((*schema.numeric, *schema.categorical)):
        distinct, codes = np.unique(train.x[:, j], return_inverse=True)
        together = len(np.unique(codes * n_groups + groups))
        # Rare names may share a code, and a rare group may have two.
        if abs(len(distinct) - n_groups) <= 0.1 * n_groups and together <= 1.1 * n_groups:
            found.append(name)
    return tuple(found)
