"""Gives the trials of earlier sweeps to the sampler of a new one, as results that it need not buy.

They are copied into the new study once, when it begins, so that a resumed sweep needs the earlier
ones no more. The sampler is shown them before the sweep's own trials, with negative numbers; they
are in no rung, no count and no ranking.

The same settings score otherwise on other rows. So the values of each earlier sweep are moved by
what trials of equal parameters (the defaults, mostly) score here and there, or where there are
none, by the difference of the medians.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from jamba_ray.config.direction import Direction, badness, direction_of
from jamba_ray.config.run import SweepConfig
from jamba_ray.config.space import Params, SearchSpace
from jamba_ray.errors import ConfigError, StorageError
from jamba_ray.study.optuna_private import note_on_study, noted_on_study
from jamba_ray.study.proposal import contains, distribution, distributions
from jamba_ray.study.reading import StudyReading, has_study, read_study
from jamba_ray.study.records import TrialRecord
from jamba_ray.study.sampler_history import quality
from jamba_ray.study.sampling import key_of

_KEY = "warm_start"
LEARNS = ("tpe", "gp", "cmaes", "nsga2")
"""Samplers that earlier trials tell anything."""
MOST = 1000
"""Trials that are taken of one sweep: the best, and of the others the newest."""
GENERATION_0 = {"Nsga2:generation": 0}
"""What makes a trial one of the first parents of ``nsga2``."""


@dataclass(frozen=True)
class Source:
    """Holds the trials of one earlier sweep that this sweep's space has."""

    name: str
    """As the user named it."""
    n_trials: int
    """Trials that the earlier sweep has, those included that this space has not."""
    trials: tuple[tuple[Params, float, int], ...]
    """(parameters, objective, report steps) of complete and pruned ones; of complete ones the steps
    are 0."""

    def to_json(self) -> dict[str, Any]:
        """Returns what the study stores."""
        return {"from": self.name, "of": self.n_trials, "trials": [list(t) for t in self.trials]}


def read(config: SweepConfig, space: SearchSpace) -> tuple[Source, ...]:
    """Returns what ``warm_start`` names.

    Raises:
        ConfigError: With a sentence for each run that cannot be used.
    """
    found: list[Source] = []
    mistakes: list[str] = []
    if config.warm_start and config.sampler.name not in LEARNS:
        mistakes.append(
            f"`warm_start` needs a sampler that learns from trials ({', '.join(LEARNS)}), but "
            f"`sampler.name` is {config.sampler.name!r}. Choose one of them, or drop `warm_start`."
        )
    if config.warm_start and config.further:
        mistakes.append(
            "`warm_start` needs a sweep with one objective, but `objective` is "
            f"{', '.join(config.objectives)}. Drop one of the two."
        )
    for name in config.warm_start:
        source = _source(name, config, space)
        if isinstance(source, str):
            mistakes.append(source)
        else:
            found.append(source)
    if mistakes:
        raise ConfigError(mistakes)
    return tuple(found)


def frozen(
    stored: Sequence[Mapping[str, Any]],
    own: Sequence[FrozenTrial],
    space: SearchSpace,
    direction: Direction,
    population: int,
) -> list[FrozenTrial]:
    """Returns the stored trials as a sampler is shown them beside this sweep's ``own``.

    ``population``: so many of the best are the first parents of ``nsga2``.
    """
    shown: list[FrozenTrial] = []
    number = -sum(len(source["trials"]) for source in stored)
    for source in stored:
        move = shift(source["trials"], own)
        for params, value, step in source["trials"]:
            shown.append(_trial(number, params, value + move, step, space))
            number += 1
    for trial in sorted(shown, key=lambda t: quality(t, direction))[:population]:
        trial.system_attrs = dict(GENERATION_0)
    return shown


def shift(earlier: Sequence[Any], own: Sequence[FrozenTrial]) -> float:
    """Returns what is added to values of an ``earlier`` sweep to compare them with ``own`` ones."""
    theirs = {key_of(params): value for params, value, step in earlier if not step}
    here = {key_of(dict(t.params)): t.value for t in own if t.state == TrialState.COMPLETE}
    if not theirs or not here:
        return 0.0
    common = [float(here[key] or 0.0) - theirs[key] for key in here.keys() & theirs.keys()]
    if common:
        return float(statistics.median(common))
    ours = statistics.median(value or 0.0 for value in here.values())
    return float(ours - statistics.median(theirs.values()))


def in_words(stored: Sequence[Mapping[str, Any]]) -> str:
    """Says what the sampler began with, from the stored trials."""
    parts = [f"{len(s['trials'])} of the {s['of']} trials of {s['from']}" for s in stored]
    return f"The sampler began with {' and '.join(parts)}, which count as none of this sweep's."


def keep(study: optuna.Study, stored: Sequence[Mapping[str, Any]]) -> None:
    """Stores the trials of earlier sweeps in a new study."""
    note_on_study(study, _KEY, list(stored))


def kept(study: optuna.Study) -> list[Mapping[str, Any]]:
    """Returns the trials of earlier sweeps that a study holds."""
    found: list[Mapping[str, Any]] | None = noted_on_study(study, _KEY)
    return found or []


def _source(name: str, config: SweepConfig, space: SearchSpace) -> Source | str:
    """Returns the trials of one run, or the sentence that says why it cannot be used."""
    path = _study_of(name, config.store)
    if path is None:
        return (
            f"`warm_start` must name sweeps of this store, or their folders, but {name!r} holds no "
            "study. Give a run's name, its folder, or its study.journal."
        )
    try:
        study = read_study(path)
    except StorageError as error:
        return f"`warm_start` {name!r}: {error.message}"
    theirs = str(study.identity.get("objective"))
    if (theirs, study.direction) != (config.objective, direction_of(config.objective)):
        return (
            f"`warm_start` must name sweeps with the objective {config.objective}, but {name!r} "
            f"was one by {theirs} ({study.direction}). Drop it, or set `objective={theirs}`."
        )
    trials = _usable(study, space)
    if not trials:
        return (
            f"`warm_start` must name sweeps with trials in this search space, but none of the "
            f"{len(study.trials)} of {name!r} is in it. Drop it, or widen the space."
        )
    return Source(name, len(study.trials), tuple(_most(trials, study.direction)))


def _study_of(name: str, store: str) -> Path | None:
    places = (Path(store) / name, Path(name))
    for place in places:
        path = place if place.suffix == ".journal" else place / "study.journal"
        if has_study(path):
            return path
    return None


def _usable(study: StudyReading, space: SearchSpace) -> list[tuple[Params, float, int]]:
    base = study.identity.get("config", {})
    found = []
    for trial in study.trials:
        params = _in_space(trial, base, space)
        if params is None or trial.value is None:
            continue
        if trial.state == "complete":
            found.append((params, trial.value, 0))
        elif trial.state == "pruned" and trial.curve:
            found.append((params, trial.value, trial.curve[-1][0]))
    return found


def _in_space(trial: TrialRecord, base: Mapping[str, Any], space: SearchSpace) -> Params | None:
    """Returns a trial's parameters in ``space``; what was fixed then has the value of then."""
    params: Params = {}
    for parameter in space.parameters:
        if not parameter.exists(params, space.base):
            continue
        path = parameter.path
        value = trial.params[path] if path in trial.params else base.get(path)
        if value is None or not contains(distribution(parameter.leaf), value):
            return None
        params[path] = value
    return params


def _most(
    trials: list[tuple[Params, float, int]], direction: str
) -> list[tuple[Params, float, int]]:
    if len(trials) <= MOST:
        return trials
    ranked = sorted(range(len(trials)), key=lambda i: badness(trials[i][1], direction))
    kept = {*ranked[: MOST // 2]}
    for i in reversed(range(len(trials))):
        if len(kept) < MOST:
            kept.add(i)
    return [trials[i] for i in sorted(kept)]


def _trial(number: int, params: Params, value: float, step: int, space: SearchSpace) -> FrozenTrial:
    return FrozenTrial(
        number=number,
        trial_id=number,
        state=TrialState.PRUNED if step else TrialState.COMPLETE,
        value=value,
        values=None,
        datetime_start=None,
        datetime_complete=None,
        params=dict(params),
        distributions=distributions(space, params),
        user_attrs={},
        system_attrs={},
        intermediate_values={step: value} if step else {},
    )
