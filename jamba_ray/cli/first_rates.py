"""Measures the seconds per row at the corners of a space before any trial runs.

A few steps are timed in this process.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace

from jamba_ray.config.family import TRAINERS, trains_alone
from jamba_ray.config.params import with_params
from jamba_ray.config.run import TrialConfig
from jamba_ray.config.space import CategoricalLeaf, Params, SearchSpace
from jamba_ray.config.training_length import length_of, settled
from jamba_ray.data.prepared import PreparedData, of_both_classes
from jamba_ray.training import Decision, Member, Report, fit

PROBE_ROWS = 2048
_MORE_ROWS = 16_384
"""Trees do not take twice as long for twice the rows, so they are timed on two numbers of rows."""
_ROUNDS = 32
"""Rounds that are timed of an estimator."""
_JUDGED = 256
_MODEL = "model.name"

Stop = Callable[[], bool]


def first_rates(
    base: TrialConfig, space: SearchSpace, data: PreparedData, rows: int, stop: Stop
) -> list[float]:
    """Measures the seconds per row of trials of ``rows`` rows at the corners of a space.

    It ends soon after ``stop`` returns true.
    """
    corners = list({str(corner): corner for corner in all_corners(base, space)}.values())
    return [_rate(corner, data, rows, stop) for corner in corners]


def all_corners(base: TrialConfig, space: SearchSpace) -> list[TrialConfig]:
    """Returns trials with the first and the last value of each parameter, for each family."""
    families = [
        leaf.choices
        for parameter in space.parameters
        if parameter.path == _MODEL and isinstance(leaf := parameter.leaf, CategoricalLeaf)
    ]
    names = families[0] if families else [None]
    return [corner(base, space, end, name) for name in names for end in (0, -1)]


def corner(base: TrialConfig, space: SearchSpace, end: int, family: object = None) -> TrialConfig:
    """Returns the trial with the first (0) or last (-1) value of each parameter."""
    params: Params = {}
    for parameter in space.parameters:
        leaf = parameter.leaf
        ends = leaf.choices if isinstance(leaf, CategoricalLeaf) else (leaf.low, leaf.high)
        if parameter.exists(params, space.base):
            is_family = parameter.path == _MODEL and family is not None
            params[parameter.path] = family if is_family else ends[end]  # type: ignore[assignment]
    return with_params(base, params)


def _rate(config: TrialConfig, data: PreparedData, rows: int, stop: Stop) -> float:
    if not trains_alone(config.model.name):
        return row_s(config, data, stop)
    # A trial grows the same trees whatever its number of epochs is.
    config, times = _fewer_rounds(config)
    few, more = (min(n, len(data.train)) for n in (PROBE_ROWS, _MORE_ROWS))
    at_few, at_more = (_trees_s(config, data, n, stop) for n in (few, more))
    each = max(0.0, at_more - at_few) / max(1, more - few)
    return times * (at_more + each * (len(data.train) - more)) / max(1, rows)


def _fewer_rounds(config: TrialConfig) -> tuple[TrialConfig, float]:
    """Returns a trial of some rounds, and how many times as long the whole takes: a thousand trees
    would take longer to time than a plan may."""
    rounds = getattr(config.model, "n_estimators", 1)
    if TRAINERS.get(config.model.name) != "estimator" or rounds <= _ROUNDS:
        return config, 1.0
    model = config.model.model_copy(update={"n_estimators": _ROUNDS})
    return config.model_copy(update={"model": model}), rounds / _ROUNDS


def row_s(config: TrialConfig, data: PreparedData, stop: Stop = lambda: False) -> float:
    """Measures the seconds per row of forward, backward and optimizer on a few rows.

    The first rows warm up and do not count.
    """
    n = min(PROBE_ROWS, len(data.train))
    batch = length_of(config.training, len(data.train)).batch_size
    epochs = max(2.0, math.ceil(2 * batch / n))
    marks: list[tuple[float, float, float, int]] = []

    def note(reports: list[Report]) -> list[Decision]:
        (report,) = reports
        marks.append((time.thread_time(), time.monotonic(), report.goodput_s, report.rows_seen))
        return ["prune" if stop() else "continue"]

    total_s, total_rows = _timed(config, data, n, epochs, note)
    if len(marks) < 2:
        return total_s / max(1, total_rows)
    (cpu, wall, good, rows), (cpu_end, wall_end, good_end, rows_end) = marks[0], marks[-1]
    # Corrects for the time that other processes, such as a starting Ray, took of this core.
    share = min(1.0, (cpu_end - cpu) / max(1e-9, wall_end - wall))
    return share * (good_end - good) / max(1, rows_end - rows)


def _trees_s(config: TrialConfig, data: PreparedData, n: int, stop: Stop) -> float:
    return _timed(config, data, n, 1.0, lambda _: ["prune" if stop() else "continue"])[0]


def _timed(
    config: TrialConfig,
    data: PreparedData,
    n: int,
    epochs: float,
    report: Callable[[list[Report]], list[Decision]],
) -> tuple[float, int]:
    train, val = data.train, data.val
    few = replace(
        data,
        train=train.take(of_both_classes(train.y > 0, n)),
        val=val.take(of_both_classes(val.y > 0, _JUDGED)),
        tests={},
    )
    # Reports are frequent, because each asks whether to stop.
    changes: dict[str, object] = {"epochs": epochs, "report_rows": max(1, len(few.train) // 4)}
    changes |= {"patience": 0, "schedule": "cosine"}
    training = settled(config.training, len(data.train)).model_copy(update=changes)
    (outcome,) = fit(
        [Member(0, config.model_copy(update={"training": training}))],
        few,
        lambda reports: report(list(reports)),
    )
    return outcome.goodput_s, outcome.rows_seen
