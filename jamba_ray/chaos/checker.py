"""Checks what a chaos run promised, by its history and by the study's file.

It reads the journal with Optuna's own file backend and uses none of the code under test.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial

from jamba_ray.chaos.history import Event


@dataclass(frozen=True)
class Row:
    """Holds a trial as the study's file has it."""

    state: str
    value: float | None
    params: tuple[tuple[str, float], ...]
    steps: tuple[int, ...]
    values: tuple[float, ...]


@dataclass(frozen=True)
class Verdict:
    """Holds what the checker found."""

    broken: tuple[str, ...]
    """A sentence for each promise that was not kept."""
    redone: int
    """Steps that were acknowledged more than once."""
    most_redone: int
    """The most steps that one restart of one trial had to do again."""


def check(events: list[Event], study: Path, n_trials: int, interval_steps: int) -> Verdict:
    """Judges a sweep that ended; ``interval_steps`` are the steps between two checkpoints."""
    rows = read_rows(study)
    broken = [*_all_there(rows, n_trials), *_nothing_lost(events, rows), *_no_twins(rows)]
    broken += [*_curves(events, rows), *_not_run_again(events), *_same_trial(events)]
    redone, most = _redone(events)
    if most > interval_steps:
        broken.append(f"{most} steps of one trial were done again, more than {interval_steps}")
    return Verdict(tuple(broken), redone, most)


def read_rows(study: Path) -> dict[int, Row]:
    """Returns every trial in the file, as plain Optuna reads it."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage = JournalStorage(JournalFileBackend(str(study)))
    (found,) = storage.get_all_studies()
    study_id = storage.get_study_id_from_name(found.study_name)
    return {trial.number: _row(trial) for trial in storage.get_all_trials(study_id)}


def _row(trial: FrozenTrial) -> Row:
    reports = sorted(trial.intermediate_values.items())
    return Row(
        state=trial.state.name,
        value=trial.value,
        params=tuple(
            (name, trial.distributions[name].to_internal_repr(value))
            for name, value in sorted(trial.params.items())
        ),
        steps=tuple(step for step, _ in reports),
        values=tuple(value for _, value in reports),
    )


def _all_there(rows: dict[int, Row], n_trials: int) -> list[str]:
    broken = []
    if sorted(rows) != list(range(n_trials)):
        broken.append(f"there are {len(rows)} trials, not {n_trials}")
    unfinished = [n for n, row in rows.items() if row.state in ("RUNNING", "WAITING")]
    if unfinished:
        broken.append(f"trials {unfinished} never ended")
    return broken


def _nothing_lost(events: list[Event], rows: dict[int, Row]) -> list[str]:
    """Checks that each trial reported as finished is finished in the study, with its value."""
    broken = []
    states = {"complete": "COMPLETE", "pruned": "PRUNED", "failed": "FAIL"}
    for event in events:
        if event.name != "finished" or event.trial is None:
            continue
        row = rows.get(event.trial)
        told = (states[event.more["state"]], event.more["value"])
        if row is None or (row.state, row.value) != told:
            broken.append(f"trial {event.trial} was acknowledged as {told}, but is {row}")
    return broken


def _no_twins(rows: dict[int, Row]) -> list[str]:
    seen: dict[tuple[tuple[str, float], ...], int] = {}
    broken = []
    for number, row in sorted(rows.items()):
        if row.params in seen:
            broken.append(f"trials {seen[row.params]} and {number} have the same parameters")
        seen.setdefault(row.params, number)
    return broken


def _curves(events: list[Event], rows: dict[int, Row]) -> list[str]:
    """Checks that steps are consecutive and have the acknowledged values."""
    broken = []
    told: dict[int, dict[int, float]] = defaultdict(dict)
    for event in events:
        if event.name == "step" and event.trial is not None:
            told[event.trial][event.more["step"]] = event.more["value"]
    for number, row in rows.items():
        if row.steps != tuple(range(1, len(row.steps) + 1)):
            broken.append(f"trial {number} has the steps {row.steps}")
        held = dict(zip(row.steps, row.values, strict=True))
        if any(v is None or not math.isfinite(v) for v in row.values):
            broken.append(f"trial {number} holds a value that is no number")
        wrong = [s for s, v in told[number].items() if held.get(s) != v]
        if wrong:
            broken.append(f"trial {number} lacks or changed the acknowledged steps {wrong}")
    return broken


def _not_run_again(events: list[Event]) -> list[str]:
    finished: set[int] = set()
    broken = []
    for event in events:
        if event.name == "finished" and event.trial is not None:
            if event.trial in finished:
                broken.append(f"trial {event.trial} was told finished twice")
            finished.add(event.trial)
        elif event.name == "begin" and event.trial in finished:
            broken.append(f"trial {event.trial} was run again after it had finished")
    return broken


def _same_trial(events: list[Event]) -> list[str]:
    """Checks that a trial that is begun again has the same settings."""
    rates: dict[int, set[float]] = defaultdict(set)
    for event in events:
        if event.name == "begin" and event.trial is not None:
            rates[event.trial].add(event.more["rate"])
    return [f"trial {n} was begun with {len(r)} settings" for n, r in rates.items() if len(r) > 1]


def _redone(events: list[Event]) -> tuple[int, int]:
    reached: dict[int, int] = defaultdict(int)
    redone, most = 0, 0
    for event in events:
        if event.trial is None:
            continue
        if event.name == "begin":
            again = max(0, reached[event.trial] - event.more["step"])
            redone, most = redone + again, max(most, again)
        elif event.name == "step":
            reached[event.trial] = max(reached[event.trial], event.more["step"])
    return redone, most
