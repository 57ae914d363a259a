"""Watches one window: measures, decides, and returns ``watch.json``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from jamba_ray.data.reference import Reference
from jamba_ray.evaluation.bootstrap import share
from jamba_ray.evaluation.prior_shift import Prior, mixture, prior_of
from jamba_ray.evaluation.promise import percent
from jamba_ray.evaluation.two_samples import FEWEST_ROWS, discoveries
from jamba_ray.evaluation.unlabelled import Estimated, estimated
from jamba_ray.watching import clock
from jamba_ray.watching import findings as told
from jamba_ray.watching.column_changes import (
    OF_VALUES,
    ColumnChange,
    compare_columns,
    compare_scores,
    with_found,
)
from jamba_ray.watching.findings import Finding
from jamba_ray.watching.labelled import Labelled, labelled
from jamba_ray.watching.row_changes import RowChange, compare_rows, weights_like
from jamba_ray.watching.watched_model import WatchedModel
from jamba_ray.watching.window import Window

VERSION = 1
_GROUPS = 12
OF_GROUPS = 0.1
"""Share of ``alpha`` for the scores of groups, where there are groups."""


@dataclass(frozen=True)
class Asked:
    """Holds what a user wants of a watch."""

    alpha: float = 0.05
    min_effect: float = 0.02
    max_age_s: float | None = None
    now_s: float = 0.0


@dataclass(frozen=True)
class Changes:
    """Holds what differs from the reference."""

    columns: list[ColumnChange]
    score: ColumnChange
    rows: RowChange | None
    prior: Prior | None
    explained: bool
    """Whether another share of threats alone explains what differs."""

    @property
    def any_found(self) -> bool:
        """Says whether anything differs."""
        found = [one.found for one in self.columns]
        return any(found) or self.score.found or bool(self.rows and self.rows.found)


def watched(
    model: WatchedModel,
    window: Window,
    threshold: float,
    promise: Mapping[str, Any] | None,
    asked: Asked,
    before: Sequence[Mapping[str, Any]] = (),
) -> tuple[dict[str, Any], Labelled | None]:
    """Returns what ``watch.json`` says of the window, and of its labels.

    ``before``: the history's records, the oldest first.
    """
    reference = model.reference
    flagged = window.score >= threshold
    state = next((one["state"] for one in reversed(before) if _same(one, threshold)), None)
    labels = labelled(window, threshold, promise, state, asked.alpha)
    if window.asked is not None:
        return _of_asked(window, labels, promise), labels
    changes = changes_of(model, window, asked.alpha)
    performance, regime = performance_of(model, window, threshold, changes)
    groups, group_findings = _groups(window, reference, flagged, asked, explained=changes.explained)
    newest = [int(one["rows"]) for one in before if one.get("rows")]
    found = [
        *told.of_labels(labels, promise),
        *told.of_lacking(window.lacking),
        *clock.of_times(
            window.time, window.time_fault, asked.now_s, asked.max_age_s, reference.until
        ),
        *clock.of_volume(len(window), newest),
        *told.of_prior(changes.prior, explains=changes.explained),
        *told.of_score(changes.score, changes.rows, asked.min_effect, explained=changes.explained),
        *told.of_columns(changes.columns, asked.min_effect, explained=changes.explained),
        *group_findings,
    ]
    found = told.ordered(found)
    alerts = int(flagged.sum())
    report = {
        "window": _window(window, alerts),
        "reference": {
            "part": reference.part,
            "rows": len(reference),
            "train_rows": reference.train_rows,
            "until": reference.until,
        },
        "score": changes.score.to_json(),
        "rows": None if changes.rows is None else changes.rows.to_json(),
        "columns": [one.to_json() for one in changes.columns],
        "prior": _prior(changes.prior, explains=changes.explained),
        "performance": _performance_json(performance, regime, labels),
        "labels": None if labels is None else labels.to_json(),
        "groups": groups,
        "over_time": clock.over_time(window.time, window.score, flagged),
        "findings": [one.to_json() for one in found],
        "sentence": told.headline(found, len(window), labels, _smallest(changes)),
    }
    return report, labels


def changes_of(model: WatchedModel, window: Window, alpha: float) -> Changes:
    """Compares the window with the reference, and decides what differs."""
    reference, sizes = model.reference, model.sizes
    columns, score, rows = _compared(reference, window, alpha, sizes)
    found = Changes(columns, score, rows, None, explained=False)
    if (calibration := model.calibration) is None:
        return found
    prior = prior_of(calibration(window.score), calibration(reference.score), reference.label)
    found = replace(found, prior=prior)
    if prior is None or not prior.differs or not found.any_found:
        return found
    # Drawn to have that share of threats, does the reference still differ?
    other = reference.take(mixture(reference.label, prior.value))
    if len(other) < 5 * FEWEST_ROWS:
        return found
    again = Changes(*_compared(other, window, alpha, sizes), None, explained=False)
    return replace(found, explained=not again.any_found)


def _compared(
    reference: Reference, window: Window, alpha: float, sizes: Mapping[str, float]
) -> tuple[list[ColumnChange], ColumnChange, RowChange | None]:
    needed = OF_VALUES * alpha / (reference.schema.input_dim + 2)
    columns = compare_columns(window, reference, sizes, needed)
    score = ColumnChange("score", "score", compare_scores(window.score, reference, needed))
    bursts = [
        one.values.rows / one.values.effective
        for one in (*columns, score)
        if one.values is not None
    ]
    rows = compare_rows(window, reference, max(bursts, default=1.0))
    others = [] if rows is None else [rows.p]
    decided, more = with_found([*columns, score], others, alpha)
    if rows is not None:
        rows = replace(rows, found=more[0])
    return decided[:-1], decided[-1], rows


def performance_of(
    model: WatchedModel, window: Window, threshold: float, changes: Changes
) -> tuple[Estimated, str]:
    """Estimates the metrics under the supposition that fits what has changed, and names it."""
    reference = model.reference
    label, score = reference.label, reference.score
    if (method := model.method) is None:
        return Estimated({}, None, "the reference has too few rows of a class"), "none"
    weights: npt.NDArray[np.float64] | None = None
    prior, regime = None, "none"
    if changes.explained:
        prior, regime = changes.prior, "prior"
    elif changes.any_found:
        regime = "covariate"
        if changes.rows is not None and changes.rows.found:
            weights = weights_like(window, reference)
    found = estimated(window.score, score, label, threshold, method, weights=weights, prior=prior)
    return found, regime


_SUPPOSED = {
    "none": "It supposes that rows that look alike are threats as often as before.",
    "covariate": "The rows differ from the reference; it supposes that rows that look alike are "
    "threats as often as before (covariate shift), and is wrong where threats are rarer or more "
    "frequent among them.",
    "prior": "The share of threats has changed; it supposes that threats and benign rows look as "
    "before (prior shift).",
}


def _performance_json(found: Estimated, regime: str, labels: Labelled | None) -> dict[str, Any]:
    start = (
        f"Without labels nothing is said of the performance: {found.reason}."
        if found.reason is not None
        else f"Estimated without labels. {_SUPPOSED[regime]}"
    )
    concept = "" if labels is not None and labels.metrics else f" {told.CONCEPT}"
    return {
        "supposes": regime,
        "metrics": {name: dict(one) for name, one in found.metrics.items()},
        "threats": None if found.threats is None else dict(found.threats),
        "effective_rows": found.effective,
        "reason": found.reason,
        "sentence": f"{start}{concept}",
    }


def _groups(
    window: Window,
    reference: Reference,
    flagged: npt.NDArray[np.bool_],
    asked: Asked,
    *,
    explained: bool,
) -> tuple[list[dict[str, Any]], list[Finding]]:
    """Returns the largest groups, and those whose scores differ from what they were."""
    if window.group is None:
        return [], []
    names, counts = np.unique(window.group, return_counts=True)
    found: list[dict[str, Any]] = []
    p: list[float] = []
    for name in names[np.argsort(-counts, kind="stable")][:_GROUPS]:
        here = window.group == name
        same = None if reference.group is None else reference.group == name
        known = same is not None and int(same.sum()) >= FEWEST_ROWS
        there = reference.take(same) if known and same is not None else reference
        needed = OF_GROUPS * asked.alpha / _GROUPS
        compared = compare_scores(window.score[here], there, needed)
        n, k = int(here.sum()), int(flagged[here].sum())
        found.append(
            {
                "group": str(name),
                "rows": n,
                "alerts": dict(share(k, n)),
                "mean_score": float(window.score[here].mean()),
                "held_against": "the same group" if known else "all rows",
                "p": None if compared is None else compared.p,
                "distance": None if compared is None else compared.distance,
                "found": False,
            }
        )
        p.append(1.0 if compared is None or not known else compared.p)
    findings = []
    for one, yes in zip(found, discoveries(p, OF_GROUPS * asked.alpha), strict=True):
        one["found"] = yes
        if yes:
            sentence = (
                f"The scores of the group {one['group']!r} have changed: that moves "
                f"{percent(one['distance'])} of its {one['rows']:,} rows."
            )
            severity = told.severity_of(one["distance"], asked.min_effect)
            severity = "info" if explained else severity
            findings.append(
                Finding("group", severity, sentence, one["group"], one["p"], one["distance"])
            )
    return found, findings


def _window(window: Window, alerts: int) -> dict[str, Any]:
    from jamba_ray.data.times import span

    ends = span(window.time)
    return {
        "id": window.identity,
        "rows": len(window),
        "alerts": alerts,
        "alert_share": alerts / len(window),
        "alerts_per_day": clock.per_day(alerts, window.time),
        "rows_per_day": clock.per_day(len(window), window.time),
        "from": ends[0] if ends else None,
        "to": ends[1] if ends else None,
        "lacking": list(window.lacking),
        "asked": window.asked is not None,
    }


def _prior(prior: Prior | None, *, explains: bool) -> dict[str, Any] | None:
    if prior is None:
        return None
    return {
        "value": prior.value,
        "low": prior.low,
        "high": prior.high,
        "before": prior.before,
        "differs": prior.differs,
        "explains": explains,
    }


def _smallest(changes: Changes) -> str:
    """Says what a change must have moved to be seen, by the score."""
    values = changes.score.values
    if values is None:
        return ", which are too few to see any"
    # Kolmogorov's 95 % quantile for this many rows.
    hidden = percent(1.36 / values.effective**0.5)
    return f" (of the scores, a change of less than {hidden} of the rows may hide)"


def _of_asked(
    window: Window, labels: Labelled | None, promise: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Returns the report of rows that were asked for: only their labels are looked at, since they
    are no fair draw."""
    found = told.of_labels(labels, promise)
    sentence = (
        "These rows were asked for, and none has a label yet: fill in the column of labels."
        if labels is None
        else f"{labels.rows:,} labels of rows that were asked for stand for the whole window."
    )
    if found:
        sentence = f"{found[0].sentence} {sentence}"
    return {
        "window": _window(window, 0) | {"alerts": None, "alert_share": None},
        "reference": None,
        "score": None,
        "rows": None,
        "columns": [],
        "prior": None,
        "performance": None,
        "labels": None if labels is None else labels.to_json(),
        "groups": [],
        "over_time": [],
        "findings": [one.to_json() for one in found],
        "sentence": sentence,
    }


def _same(record: Mapping[str, Any], threshold: float) -> bool:
    state = record.get("state")
    return isinstance(state, Mapping) and state.get("threshold") == threshold
