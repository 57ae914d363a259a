"""Defines what training gets of the data: matrices, the meaning of their columns, a fingerprint.

Letters: N rows, F_n numeric features, F_c categorical features.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from jamba_ray.config.data import RowsIn
from jamba_ray.data.labels import IN_DOCUMENT, LabelRule

if TYPE_CHECKING:
    from jamba_ray.data.evasion import Attacker


@dataclass(frozen=True)
class FeatureSchema:
    """Describes the inputs of a model; JSON-able through ``to_json``/``from_json``."""

    numeric: tuple[str, ...]
    categorical: tuple[str, ...]
    cardinalities: tuple[int, ...]
    """Codes per categorical feature; valid codes are 0 .. cardinality - 1, and 0 means
    'unknown, rare or missing'."""
    bin_edges: tuple[tuple[float, ...], ...]
    """Per numeric feature, strictly increasing quantile edges of the *scaled* training values (at
    least two; constant columns are no features)."""

    @property
    def input_dim(self) -> int:
        """Returns F = F_n + F_c, the number of feature tokens."""
        return len(self.numeric) + len(self.categorical)

    def to_json(self) -> dict[str, Any]:
        """Returns strict JSON."""
        return {
            "numeric": list(self.numeric),
            "categorical": list(self.categorical),
            "cardinalities": list(self.cardinalities),
            "bin_edges": [list(edges) for edges in self.bin_edges],
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> FeatureSchema:
        """Makes a schema from what ``to_json`` returned."""
        return cls(
            numeric=tuple(value["numeric"]),
            categorical=tuple(value["categorical"]),
            cardinalities=tuple(value["cardinalities"]),
            bin_edges=tuple(tuple(edges) for edges in value["bin_edges"]),
        )


@dataclass(frozen=True)
class Rows:
    """Holds preprocessed rows, C-contiguous."""

    x_num: npt.NDArray[np.float32]
    """[N, F_n], scaled, finite."""
    x_cat: npt.NDArray[np.int64]
    """[N, F_c], codes."""
    y: npt.NDArray[np.float32]
    """[N], 0.0 or 1.0."""
    group: npt.NDArray[np.str_] | None = None
    """[N], the group of each row (host, attack class), where known."""
    bayes: npt.NDArray[np.float64] | None = None
    """[N], the true probability of a threat given everything observable, where known."""
    time: npt.NDArray[Any] | None = None
    """[N], the time of each row (datetime64 or numbers), where there is a timestamp."""
    place: npt.NDArray[np.float32] | None = None
    """[N], where in its table each row stands, from 0 to 1."""

    raw: npt.NDArray[np.float64] | None = None
    """[N, M], the values of the columns of ``data.mutable`` before scaling, where there are any."""

    def __len__(self) -> int:
        return len(self.y)

    def take(self, rows: npt.NDArray[np.int64]) -> Rows:
        """Returns the rows at these positions, without what no model needs."""
        raw = None if self.raw is None else self.raw[rows]
        return Rows(x_num=self.x_num[rows], x_cat=self.x_cat[rows], y=self.y[rows], raw=raw)


def of_both_classes(threat: npt.NDArray[np.bool_], most: int) -> npt.NDArray[np.int64]:
    """Draws at most ``most`` row numbers, half of them threats where there are as many.

    The draw is the same at each call; the numbers ascend.
    """
    rng = np.random.default_rng(0)
    threats, benign = np.flatnonzero(threat), np.flatnonzero(~threat)
    n_threats = min(len(threats), max(most // 2, most - len(benign)))
    n_benign = min(len(benign), most - n_threats)
    chosen = [rng.choice(threats, n_threats, False), rng.choice(benign, n_benign, False)]
    return np.sort(np.concatenate(chosen)).astype(np.int64)


@dataclass(frozen=True)
class PreparedData:
    """Holds train and validation rows with everything fitted on train; tests are kept apart."""

    schema: FeatureSchema
    preprocessing: dict[str, Any]
    """Strict JSON from which ``Preprocessor.from_json`` rebuilds the same transform."""
    train: Rows
    val: Rows
    fingerprint: str
    """16 hex digits over the content of all rows and how they were split and preprocessed."""
    notes: tuple[str, ...] = ()
    """Sentences a user should read: constant columns left out, duplicates across the split ..."""
    tests: Mapping[str, Rows] = field(default_factory=dict)
    """Test sets by name, 'test' first; scored once, for the winner."""
    overview: Mapping[str, Any] = field(default_factory=dict)
    """Strict JSON: rows, columns and gaps of each part; see ``data.overview``."""
    rows_in: RowsIn = "auto"
    """Where the user wants the rows to lie."""

    attacker: Attacker | None = None
    """What an attacker may do to ``Rows.raw``; None where ``data.mutable`` names no column."""

    folds: tuple[PreparedData, ...] = ()
    """With cross-validation: the training rows divided anew, ``val`` being those held out, and
    each with what was fitted on its own training rows."""

    @property
    def searched(self) -> PreparedData:
        """Returns the rows that a trial trains on first: those of the first fold, if there are
        folds."""
        return self.folds[0] if self.folds else self

    @property
    def label_rule(self) -> LabelRule | None:
        """Returns how labels were read; None where they were 0 and 1."""
        found = self.preprocessing.get(IN_DOCUMENT)
        return None if found is None else LabelRule.from_json(found)
