"""Estimates what a model reaches on rows without labels, from its own calibrated probabilities.

A row that is a threat with probability 0.9 is, as far as anyone can tell, nine tenths of a found
threat if it is flagged. Labels are drawn so for the whole window, again and again, and each time
from probabilities that were calibrated anew on a resample of the labelled reference rows: the
interval holds what the real labels would give, with the chance of both.

It supposes that rows that look alike are threats as often as before. Under a shift of the features
that holds, and the calibration is fitted on reference rows that are drawn to be like the window
(importance weights; Shimodaira 2000); under another share of threats the odds are moved (Saerens,
Latinne & Decaestecker 2002). Where what a threat looks like has changed (concept drift) it does not
hold, and nothing without labels can tell.

Letters: N rows of the window, M of the reference, R draws.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from jamba_ray.evaluation.bootstrap import ENOUGH, Interval
from jamba_ray.evaluation.calibration import Calibration, Method, calibrated, fitted
from jamba_ray.evaluation.counts import Counts, blocks
from jamba_ray.evaluation.metrics import METRICS
from jamba_ray.evaluation.prior_shift import Prior

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
RATES = ("recall", "precision", "fpr")
RANKED = ("average_precision", "roc_auc", "f1")
_MAPS, _DRAWS = 40, 400
_FEWEST = 20
"""Expected rows of a class below which a metric that rests on it is not given."""


@dataclass(frozen=True)
class Estimated:
    """Holds what is expected of the window's real labels, or why nothing can be."""

    metrics: dict[str, Interval]
    """Metric -> its value with the 95 % interval."""
    threats: Interval | None
    """The number of threats in the window."""
    reason: str | None = None
    effective: int | None = None
    """Reference rows of the rarer class that the weights leave; None without weights."""


def method_for(label: Bools, score: Floats, saved: Calibration | None) -> Method:
    """Returns the kind of calibration: that of the saved one, else the one that fits best."""
    return calibrated(label, score).calibration.method if saved is None else saved.method


def estimated(
    window: Floats,
    score: Floats,
    label: Bools,
    threshold: float,
    method: Method,
    *,
    weights: Floats | None = None,
    prior: Prior | None = None,
    seed: int = 0,
) -> Estimated:
    """Estimates the metrics of rows with the scores ``window`` [N].

    ``score`` and ``label`` [M] are of the reference. ``weights`` [M]: how many times more often
    such rows come in the window; ``prior``: the share of threats in the window.
    """
    effective = None
    if weights is not None:
        effective = int(min(_kish(weights[label]), _kish(weights[~label])))
        if effective < ENOUGH:
            return Estimated(
                {},
                None,
                f"only {effective} reference rows of a class are like those of the window",
                effective,
            )
    counts, block = blocks(np.zeros(len(window), dtype=bool), window)
    rows = counts.benign
    draws: dict[str, list[float]] = {name: [] for name in (*RANKED, *RATES, "threats")}
    views = [None] if weights is None else [None, weights]
    for view in views:
        rng = np.random.default_rng([seed, 0 if view is None else 1])
        for calibration, share in _maps(score, label, method, view, prior, rng):
            chance = calibration(window, share)
            for _ in range(_DRAWS // _MAPS):
                threat = rng.random(len(chance)) < chance
                drawn = np.bincount(block[threat], minlength=len(rows)).astype(np.float64)
                _take(draws, Counts(counts.score, drawn, rows - drawn), threshold)
    found = {name: _interval(values, name) for name, values in draws.items()}
    threats = found.pop("threats")
    assert threats is not None
    few_threats = threats["value"] < _FEWEST
    few_benign = len(window) - threats["value"] < _FEWEST
    kept = {
        name: one
        for name, one in found.items()
        if one is not None
        and not (few_threats and name != "fpr")
        and not (few_benign and name in ("fpr", "roc_auc"))
    }
    return Estimated(kept, threats, None if kept else "too few threats are expected", effective)


def _maps(
    score: Floats,
    label: Bools,
    method: Method,
    weights: Floats | None,
    prior: Prior | None,
    rng: np.random.Generator,
) -> Iterator[tuple[Calibration, float | None]]:
    """Yields calibrations of resamples of the reference, and the share of threats to move each
    to."""
    m = len(score)
    chance = None if weights is None else weights / weights.sum()
    # With weights a resample says as much as its effective rows do.
    size = m if weights is None else max(2 * ENOUGH, int(_kish(weights)))
    for _ in range(_MAPS):
        at = rng.choice(m, size, p=chance)
        if not 2 <= int(label[at].sum()) <= size - 2:
            continue
        share = None
        if prior is not None:
            share = float(np.clip(rng.normal(prior.value, prior.error), 1e-6, 1.0 - 1e-6))
        yield fitted(label[at], score[at], method), share


def _take(draws: dict[str, list[float]], counts: Counts, threshold: float) -> None:
    threats, benign = counts.n_threats, counts.n_benign
    draws["threats"].append(threats)
    flagged = counts.score >= threshold
    hits, false = float(counts.threats[flagged].sum()), float(counts.benign[flagged].sum())
    if threats:
        draws["recall"].append(hits / threats)
    if benign:
        draws["fpr"].append(false / benign)
    if hits + false:
        draws["precision"].append(hits / (hits + false))
    for name in RANKED:
        if threats and (benign or name == "f1"):
            draws[name].append(METRICS[name].compute(counts, threshold))


def _interval(values: list[float], name: str) -> Interval | None:
    if not values:
        return None
    low, high = np.percentile(values, (2.5, 97.5))
    return Interval(value=float(np.mean(values)), low=float(low), high=float(high))


def _kish(weights: Floats) -> float:
    total = float((weights**2).sum())
    return float(weights.sum()) ** 2 / total if total > 0.0 else 0.0
