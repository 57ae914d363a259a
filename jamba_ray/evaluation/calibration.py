"""Fits monotone maps from scores to probabilities, chooses one, and moves it to another share of
threats.

Letters: N rows; s a score in (0, 1); z its log-odds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
from scipy.optimize import isotonic_regression, minimize  # type: ignore[import-untyped]
from scipy.special import expit, log_expit, logit  # type: ignore[import-untyped]

from jamba_ray.errors import DataError
from jamba_ray.evaluation.bootstrap import ENOUGH
from jamba_ray.evaluation.counts import Floats, checked
from jamba_ray.evaluation.metrics import value_of

Method = Literal["none", "temperature", "platt", "beta", "isotonic"]
METHODS: tuple[Method, ...] = get_args(Method)
"""From the simplest to the one with most freedom: of equal ones the first is taken."""
MOST_ROWS = 100_000
"""Rows that a map is fitted on at most, drawn by chance: more change no digit that matters."""
JUDGED = ("log_loss", "ece", "brier")
_FOLDS = 5
_EPS = float(np.finfo(np.float64).eps)
Labels = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Calibration:
    """Maps scores to probabilities, never lowering a higher score below a lower one."""

    method: Method
    parameters: Mapping[str, tuple[float, ...]]
    threat_share: float
    """Share of threats among the rows that it was fitted on."""

    def __call__(self, p: npt.ArrayLike, prior: float | None = None) -> Floats:
        """Returns the probabilities [N] of scores [N].

        ``prior`` is the share of threats among the rows to come, where it differs: the odds are
        multiplied by the ratio of both odds (Saerens, Latinne & Decaestecker 2002), which supposes
        that threats look as before, and benign rows too.
        """
        scores = np.asarray(p, dtype=np.float64)
        found: Floats = _MAPS[self.method](scores, self.parameters)
        if prior is None:
            return found
        z = logit(np.clip(found, _EPS, 1.0 - _EPS)) + logit(prior) - logit(self.threat_share)
        moved: Floats = expit(z)
        return moved

    def to_json(self) -> dict[str, Any]:
        """Returns strict JSON."""
        return {
            "method": self.method,
            "parameters": {name: list(values) for name, values in self.parameters.items()},
            "threat_share": self.threat_share,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Calibration:
        """Makes a calibration from what ``to_json`` returned.

        Raises:
            ValueError: It is none that keeps the order of scores.
        """
        try:
            method = value["method"]
            parameters = {
                str(name): tuple(float(one) for one in values)
                for name, values in value["parameters"].items()
            }
            share = float(value["threat_share"])
            probe = np.linspace(0.0, 1.0, 257)
            mapped = _MAPS[method](probe, parameters)
        except (KeyError, TypeError, AttributeError, ValueError, IndexError) as error:
            raise ValueError("it must name a method and its parameters") from error
        xs = np.asarray(parameters.get("x", (0.0, 1.0)))
        is_sound = np.isfinite(mapped).all() and (mapped >= 0.0).all() and (mapped <= 1.0).all()
        rises = (np.diff(mapped) >= 0.0).all() and (np.diff(xs) > 0.0).all()
        if not (is_sound and rises and 0.0 < share < 1.0):
            raise ValueError("it must rise with the score, from 0 to 1")
        return cls(method, parameters, share)


@dataclass(frozen=True)
class Calibrated:
    """Holds the calibration that was chosen, and what it does to rows that it was not fitted on."""

    calibration: Calibration
    before: Mapping[str, float]
    """Metric of ``JUDGED`` -> value of the scores."""
    after: Mapping[str, float]
    """The same of the probabilities, each row by a map that was fitted without it (five folds)."""


def calibrated(
    y: npt.ArrayLike, p: npt.ArrayLike, wanted: Method | Literal["auto"] = "auto"
) -> Calibrated:
    """Fits the map of ``wanted``; ``auto``: the one with the least log loss out of five folds.

    With fewer than ``ENOUGH`` rows of a class ``auto`` leaves the scores as they are. Raises as
    ``count`` does, and:

    Raises:
        DataError: Rows of a class are missing.
    """
    labels, scores = _drawn(*checked(y, p))
    n_threats = int(np.count_nonzero(labels))
    rarer = min(n_threats, len(labels) - n_threats)
    if rarer < 2:
        raise DataError(
            "a calibration needs at least two threats and two benign rows, but there are "
            f"{n_threats} and {len(labels) - n_threats}; choose rows with more of both."
        )
    candidates: tuple[Method, ...] = (wanted,) if wanted != "auto" else METHODS
    if wanted == "auto" and rarer < ENOUGH:
        candidates = ("none",)
    outside = {method: _outside(labels, scores, method) for method in candidates}
    losses = {method: value_of("log_loss", labels, found) for method, found in outside.items()}
    method = min(candidates, key=losses.__getitem__)
    share = n_threats / len(labels)
    chosen = Calibration(method, _FITS[method](labels, scores), share)
    return Calibrated(chosen, judged(labels, scores), judged(labels, outside[method]))


def fitted(y: npt.ArrayLike, p: npt.ArrayLike, method: Method) -> Calibration:
    """Fits the map of one method to all rows, without judging it; raises as ``count`` does."""
    labels, scores = _drawn(*checked(y, p))
    share = float(np.count_nonzero(labels)) / len(labels)
    return Calibration(method, _FITS[method](labels, scores), share)


def judged(y: npt.ArrayLike, p: npt.ArrayLike) -> dict[str, float]:
    """Returns the metrics of ``JUDGED``."""
    return {name: value_of(name, y, p) for name in JUDGED}


def _drawn(labels: Labels, scores: Floats) -> tuple[Labels, Floats]:
    if len(labels) <= MOST_ROWS:
        return labels, scores
    rows = np.random.default_rng(0).choice(len(labels), MOST_ROWS, replace=False)
    return labels[rows], scores[rows]


def _outside(labels: Labels, scores: Floats, method: Method) -> Floats:
    """Returns each row's probability by a map that was fitted on the other folds."""
    rng = np.random.default_rng(0)
    fold = np.empty(len(labels), dtype=np.int64)
    n_folds = min(_FOLDS, int(np.count_nonzero(labels)), int(np.count_nonzero(~labels)))
    for rows in (np.flatnonzero(labels), np.flatnonzero(~labels)):
        fold[rng.permutation(rows)] = np.arange(len(rows)) % n_folds
    found = np.empty(len(labels))
    for i in range(n_folds):
        held = fold == i
        parameters = _FITS[method](labels[~held], scores[~held])
        found[held] = _MAPS[method](scores[held], parameters)
    return found


# --- the maps, and how each is fitted ---------------------------------------------------------

Parameters = Mapping[str, tuple[float, ...]]


def _features(s: Floats) -> tuple[Floats, Floats, Floats]:
    """Returns the log-odds [N], log s [N] and -log(1 - s) [N]."""
    inside = np.clip(s, _EPS, 1.0 - _EPS)
    return logit(inside), np.log(inside), -np.log1p(-inside)


def _least(
    columns: Floats, target: Floats, start: list[float], bounds: list[tuple[float | None, ...]]
) -> Floats:
    """Returns the weights of ``columns`` [N, D] with the least log loss against ``target`` [N]."""

    def loss(weights: Floats) -> tuple[float, Floats]:
        z = columns @ weights
        value = -float(target @ log_expit(z) + (1.0 - target) @ log_expit(-z))
        return value / len(target), columns.T @ (expit(z) - target) / len(target)

    found: Floats = minimize(
        loss, start, jac=True, method="L-BFGS-B", bounds=bounds,
        options={"gtol": 1e-9, "ftol": 64 * _EPS, "maxiter": 1000},
    ).x  # fmt: skip
    return found


def _platt_targets(labels: Labels) -> Floats:
    """Returns the labels drawn a little inwards, as Platt (1999) has them against overfitting."""
    n_threats = np.count_nonzero(labels)
    high, low = (n_threats + 1.0) / (n_threats + 2.0), 1.0 / (len(labels) - n_threats + 2.0)
    return np.where(labels, high, low)


def _fit_temperature(labels: Labels, s: Floats) -> Parameters:
    z, _, _ = _features(s)
    (scale,) = _least(z[:, None], _platt_targets(labels), [1.0], [(1e-3, None)])
    return {"scale": (float(scale),)}


def _fit_platt(labels: Labels, s: Floats) -> Parameters:
    z, _, _ = _features(s)
    columns = np.stack([z, np.ones_like(z)], axis=1)
    slope, offset = _least(columns, _platt_targets(labels), [1.0, 0.0], [(0.0, None), (None, None)])
    return {"slope": (float(slope),), "offset": (float(offset),)}


def _fit_beta(labels: Labels, s: Floats) -> Parameters:
    _, low, high = _features(s)
    columns = np.stack([low, high, np.ones_like(low)], axis=1)
    a, b, c = _least(
        columns,
        _platt_targets(labels),
        [1.0, 1.0, 0.0],
        [(0.0, None), (0.0, None), (None, None)],
    )
    return {"a": (float(a),), "b": (float(b),), "c": (float(c),)}


def _fit_isotonic(labels: Labels, s: Floats) -> Parameters:
    xs, inverse, rows = np.unique(s, return_inverse=True, return_counts=True)
    share = np.bincount(inverse, labels) / rows
    ys = np.asarray(isotonic_regression(share, weights=rows).x, dtype=np.float64)
    # Never certain: a row fewer than there are could have been of the other class.
    ys = np.clip(ys, 1.0 / (len(s) + 2.0), 1.0 - 1.0 / (len(s) + 2.0))
    inner = np.ones(len(ys), dtype=bool)
    inner[1:-1] = (ys[1:-1] != ys[:-2]) | (ys[1:-1] != ys[2:])
    return {"x": tuple(xs[inner].tolist()), "y": tuple(ys[inner].tolist())}


_FITS: Mapping[Method, Callable[[Labels, Floats], Parameters]] = {
    "none": lambda labels, s: {},
    "temperature": _fit_temperature,
    "platt": _fit_platt,
    "beta": _fit_beta,
    "isotonic": _fit_isotonic,
}
_MAPS: Mapping[Method, Callable[[Floats, Parameters], Floats]] = {
    "none": lambda s, of: s,
    "temperature": lambda s, of: expit(of["scale"][0] * _features(s)[0]),
    "platt": lambda s, of: expit(of["slope"][0] * _features(s)[0] + of["offset"][0]),
    "beta": lambda s, of: expit(
        of["a"][0] * _features(s)[1] + of["b"][0] * _features(s)[2] + of["c"][0]
    ),
    "isotonic": lambda s, of: np.interp(s, of["x"], of["y"]),
}
