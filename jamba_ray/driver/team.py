"""Finds a team of a sweep's trials that is surely better than its best trial.

The result is a function of the study and the candidates' checkpoints, so that a run that was killed
meanwhile ends with the same team; with ``ensemble.max_latency_ms`` also of the times measured.
"""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import expit  # type: ignore[import-untyped]

from jamba_ray.checkpoints import CheckpointStore, Snapshot
from jamba_ray.config.direction import badness, direction_of, is_score
from jamba_ray.config.ensemble import EnsembleSection
from jamba_ray.data.prepared import PreparedData, Rows
from jamba_ray.errors import CheckpointError
from jamba_ray.evaluation.bootstrap import Difference
from jamba_ray.evaluation.crossed_gain import (
    Halves,
    by_content,
    by_group,
    by_time,
    crossed_gain,
    few_rows,
)
from jamba_ray.evaluation.greedy import greedy
from jamba_ray.inference import Predictor
from jamba_ray.inference.team import Part, joined
from jamba_ray.study.candidates import candidates
from jamba_ray.study.records import TrialRecord
from jamba_ray.training.validation import ROBUSTNESS, final_metrics, objective_value

Floats = npt.NDArray[np.float64]
MOST_ROWS = 50_000
"""Validation rows on which a team is sought, drawn by label; more hardly change its weights."""
_TIMED = 7
"""Times that one row is scored, of which the median counts."""


@dataclass(frozen=True)
class Sought:
    """Holds the team, if it is surely better, and what was found."""

    snapshot: Snapshot | None
    """The team as a model; None: the best single trial is kept."""
    summary: Mapping[str, Any] | None
    """``team`` of ``summary.json``; None: none was sought."""
    parts: tuple[Part, ...] = ()
    """The team's members as they were trained; empty without a team."""


@dataclass(frozen=True)
class _Candidate:
    trial: TrialRecord
    snapshot: Snapshot
    predictor: Predictor
    log_odds: Floats
    """[N], on the rows on which a team is sought."""
    variant: str = ""
    """Which model of the trial's configuration; empty: the trial itself."""

    @property
    def value(self) -> float | None:
        """Returns the objective on all validation rows."""
        if not self.variant:
            return self.trial.value
        return self.predictor.metrics.get(f"val/{self.predictor.config.objective}")


def seek_team(
    settings: EnsembleSection,
    data: PreparedData,
    store: CheckpointStore,
    winner: TrialRecord,
    trials: Sequence[TrialRecord],
    objective: str,
    seeds: Sequence[tuple[Snapshot, Floats]] = (),
    known: Mapping[int, Floats] | None = None,
) -> Sought:
    """Finds a team among the best trials; ``winner`` is the best of them.

    Args:
        settings: The limits of a team.
        data: Its validation rows choose and judge.
        store: Holds the trials' models.
        winner: What a team must be better than.
        trials: All of the sweep.
        objective: The metric that decides.
        seeds: Further models of the winner's configuration, each with its log-odds on
            ``some_rows`` of validation.
        known: Trial -> those of its model, where they were computed before.

    Raises:
        CheckpointError: The winner's checkpoint is gone or damaged.
    """
    begun = time.monotonic()
    if not settings.enabled or objective == ROBUSTNESS:
        return Sought(None, None)
    rows = some_rows(data.val)
    labels = rows.y == 1.0
    halves = halves_of(rows, data.train)
    score = partial(_candidate, store=store, rows=rows, known=known or {})
    found = _loaded(settings, score, winner, trials, objective)
    found += [
        _Candidate(winner, model, Predictor(model), log_odds, f"seed {i}")
        for i, (model, log_odds) in enumerate(seeds, start=1)
    ]
    gain: Difference | None = None
    weights = np.eye(len(found))[0]
    too_few = few_rows(labels, halves)
    if len(found) > 1 and too_few is None:
        log_odds = np.stack([one.log_odds for one in found])
        choose = partial(
            greedy,
            objective=objective,
            max_members=settings.max_members,
            latency_ms=_latencies(found, rows) if settings.max_latency_ms is not None else None,
            max_latency_ms=settings.max_latency_ms,
        )
        weights = choose(labels, log_odds)
        if weights[0] < 1.0:
            gain = crossed_gain(labels, log_odds, 0, halves, choose, objective)
    is_better = gain is not None and gain["low"] > 0.0
    members = [(one, float(w)) for one, w in zip(found, weights, strict=True) if w > 0.0]
    told: dict[str, Any] = {
        "used": is_better,
        "settings": settings.model_dump(mode="json"),
        "candidates": [one.trial.number for one in found if not one.variant],
        "variants": [one.variant for one in found if one.variant],
        "combined": "log_odds",
        "members": [
            {
                "trial": one.trial.number,
                **({"variant": one.variant} if one.variant else {}),
                "weight": weight,
                "model": one.predictor.config.model.name,
                "value": one.value,
            }
            for one, weight in members
        ],
        "gain": gain,
        "single": {"trial": winner.number, "val": winner.value, **_tested(found[0], data)},
        "too_few": too_few,
    }
    parts = tuple(Part(one.trial.number, weight, one.snapshot) for one, weight in members)
    team = _team(found[0], members, parts, data) if is_better else None
    told["seconds"] = time.monotonic() - begun
    return Sought(team, told, parts if is_better else ())


def halves_of(rows: Rows, train: Rows) -> Halves:
    """Divides validation rows as they were divided from training rows: by time, by group where no
    group of threats is in both, else by chance."""
    labels = rows.y == 1.0
    if rows.time is not None:
        return by_time(labels, rows.time)
    if rows.group is not None and train.group is not None:
        ours, theirs = (
            set(r.group[r.y == 1.0].tolist()) for r in (rows, train) if r.group is not None
        )
        if not ours & theirs:
            return by_group(labels, rows.group)
    numbers = np.ascontiguousarray(rows.x_num).view(np.uint8).reshape(len(rows), -1)
    codes = np.ascontiguousarray(rows.x_cat).view(np.uint8).reshape(len(rows), -1)
    return by_content(labels, np.concatenate([numbers, codes], axis=1))


def _loaded(
    settings: EnsembleSection,
    score: Callable[[TrialRecord], _Candidate],
    winner: TrialRecord,
    trials: Sequence[TrialRecord],
    objective: str,
) -> list[_Candidate]:
    """Returns the candidates that can be used, the winner first."""
    direction = direction_of(objective)
    ranked = sorted(
        (badness(t.value, direction), t.number, t)
        for t in trials
        if t.state == "complete" and is_score(t.value) and t.checkpoint
    )
    by_number = {t.number: t for _, _, t in ranked}
    families = [(n, str(t.params.get("model.name"))) for _, n, t in ranked]
    numbers = [n for n in candidates(families, settings.candidates) if n != winner.number]
    first = score(winner)
    found = [first]
    for number in numbers:
        try:
            one = score(by_number[number])
        except CheckpointError:
            continue  # it was deleted by an earlier version, or before `ensemble` was true
        same = one.snapshot.documents["preprocessing"] == first.snapshot.documents["preprocessing"]
        if same and np.isfinite(one.log_odds).all():
            found.append(one)
    return found


def _candidate(
    trial: TrialRecord, store: CheckpointStore, rows: Rows, known: Mapping[int, Floats]
) -> _Candidate:
    snapshot = store.load(trial.checkpoint or "")
    predictor = Predictor(snapshot)
    log_odds = known[trial.number] if trial.number in known else predictor.log_odds(rows)
    return _Candidate(trial, snapshot, predictor, log_odds)


def some_rows(rows: Rows) -> Rows:
    """Returns at most ``MOST_ROWS`` rows, with the shares of both labels, always the same ones."""
    if len(rows) <= MOST_ROWS:
        return rows
    generator = np.random.default_rng(0)
    order = generator.permutation(len(rows))
    order = order[np.argsort(rows.y[order] != 1.0, kind="stable")]
    n_threats = int(np.count_nonzero(rows.y == 1.0))
    n = min(max(round(MOST_ROWS * n_threats / len(rows)), 1_000), n_threats, MOST_ROWS // 2)
    chosen = np.sort(np.concatenate([order[:n], order[n_threats:][: MOST_ROWS - n]]))
    # `Rows.take` leaves out group and time, by which the halves are made.
    parts = {field.name: getattr(rows, field.name) for field in dataclasses.fields(rows)}
    picked: dict[str, Any] = {
        name: None if part is None else part[chosen] for name, part in parts.items()
    }
    return Rows(**picked)


def _latencies(found: Sequence[_Candidate], rows: Rows) -> list[float]:
    """Measures the milliseconds that each candidate needs for one prepared row."""
    numbers, codes = rows.x_num[:1], rows.x_cat[:1]
    times = []
    for one in found:
        taken = []
        for _ in range(_TIMED):
            begun = time.perf_counter()
            one.predictor.score_matrices(numbers, codes)
            taken.append(1000.0 * (time.perf_counter() - begun))
        times.append(statistics.median(taken))
    return times


def _tested(single: _Candidate, data: PreparedData) -> dict[str, float]:
    """Returns the objective of the single trial on the test rows, where they define it."""
    test = data.tests.get("test")
    if test is None or len(np.unique(test.y)) < 2:
        return {}
    objective = single.predictor.config.objective
    return {"test": objective_value(objective, test.y, single.predictor.score_rows(test))}


def _team(
    single: _Candidate,
    members: Sequence[tuple[_Candidate, float]],
    parts: Sequence[Part],
    data: PreparedData,
) -> Snapshot:
    weights = np.array([weight for _, weight in members])
    log_odds = np.stack(
        [
            # On the rows on which the team was sought, where those are all of them.
            one.log_odds if len(one.log_odds) == len(data.val) else one.predictor.log_odds(data.val)
            for one, _ in members
        ]
    )
    threshold, metrics = final_metrics(data.val.y, expit(weights @ log_odds))
    return joined(
        parts,
        {**metrics, "threshold": threshold},
        single.predictor.config.model_dump(mode="json"),
    )
