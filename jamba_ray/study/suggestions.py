"""Chooses the parameters of the next new trial: enqueued ones first, then the sampler's.

No parameter set is tried twice while an untried one is left.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial

from jamba_ray.config.space import Params, Scalar
from jamba_ray.errors import ConfigError
from jamba_ray.study import sampling, warm_start
from jamba_ray.study.first_trials import FirstTrials
from jamba_ray.study.proposal import contains, distribution, propose
from jamba_ray.study.records import Origin
from jamba_ray.study.rungs import ORIGIN
from jamba_ray.study.sampler_history import SamplerHistory, as_infeasible
from jamba_ray.study.settings import StudySettings
from jamba_ray.study.study_view import view

NOTES = "notes"
"""Among the marks of a new trial: what its sampler noted on it."""
_MAX_DRAWS = 8
"""Most draws for one trial, if each draw was tried before."""


class Suggestions:
    """Chooses what to try next in ``study``, from the study and the settings alone."""

    def __init__(self, study: optuna.Study, storage: BaseStorage, settings: StudySettings) -> None:
        self._study, self._storage, self._settings = study, storage, settings
        self._space = settings.space
        self._grid = (
            sampling.grid_order(self._space, settings.seed)
            if settings.sampler.name == "grid"
            else None
        )
        everything = self._grid if self._grid is not None else sampling.listed(self._space)
        self.n_combinations = None if everything is None else len(everything)
        """How many parameter sets there are; None where there are too many to list."""
        self._left = None if everything is None else {sampling.key_of(p): p for p in everything}
        """The parameter sets that no trial has, in order."""
        self._tried: set[str] = set()
        self._history = SamplerHistory(
            settings.sampler.name,
            settings.sampler.n_startup_trials,
            settings.direction,
            sampling.first_rung(settings.pruner, settings.report_rows),
            notes_rungs=settings.pruner.has_rungs,
        )
        self._notes: dict[str, Any] = {}
        """What the sampler noted on its newest draw, to be stored with the trial."""
        self._n_begun = self._n_taken = 0
        """The second counts the enqueued parameter sets that have a trial."""

    def note(self, trial: FrozenTrial) -> None:
        """Takes note of a trial that began, or of one that ended and is in its final state."""
        if trial.number >= self._n_begun:
            self._n_begun = trial.number + 1
            key = sampling.key_of(dict(trial.params))
            self._tried.add(key)
            self._n_taken += "enqueued" in trial.user_attrs
            if self._left is not None:
                self._left.pop(key, None)
        self._history.note(trial)

    def enqueue(self, params: Mapping[str, Scalar], origin: Origin | None = None) -> None:
        """Uses these values in the next new trial; parameters not given are sampled.

        One with an ``origin`` is of the study's first trials, which no rung stops.

        Raises:
            ConfigError: A path is no parameter of the space, or a value is not in its range.
        """
        known = {p.path: distribution(p.leaf) for p in self._space.parameters}
        unknown = sorted(params.keys() - known.keys())
        mistakes = [f"`{p}` is no parameter of the search space." for p in unknown]
        mistakes += [
            f"`{path}` {value!r} is not in the search space."
            for path, value in params.items()
            if path in known and not contains(known[path], value)
        ]
        if mistakes:
            raise ConfigError(mistakes)
        origins = self._origins()
        self._study.set_user_attr("origins", [*origins, origin])
        self._study.set_user_attr("enqueued", [*self._enqueued(), dict(params)])

    def begin_with(self, first: FirstTrials) -> None:
        """Stores the first trials of a study, those that are not enqueued yet, to be tried next."""
        if first.defaults is not None:
            self.enqueue(first.defaults, "defaults")
        for params in first.families:
            if params not in self._enqueued():
                self.enqueue(params, "defaults")
        for params in first.enqueued:
            if params not in self._enqueued():
                self.enqueue(params, "enqueue")

    def exhausted(self) -> str | None:
        """Returns why nothing is left to try, as the end of a sentence; None: something is."""
        if self._left is None or self._left or self._n_taken < len(self._enqueued()):
            return None
        return f"all {self.n_combinations} parameter sets of the search space have been tried"

    def next(
        self, number: int, *, structure: Params | None = None, joins: bool = False
    ) -> tuple[Params | None, dict[str, Any]]:
        """Returns parameters for a new trial (None: none is left) and attributes to store.

        If ``structure`` is given, its structural parameters are fixed to it. ``joins`` says that
        the trial is to join a stack; enqueued parameters begin a stack of their own.
        """
        queue = self._enqueued()
        if queue and (taken := self._n_taken) < len(queue):
            if joins:
                return None, {}
            origin = self._origins()[taken]
            marks = {"enqueued": taken, **({} if origin is None else {ORIGIN: origin})}
            return self._draw(number, 0, queue[taken]), marks
        untried: Collection[Params] | None = None if self._left is None else self._left.values()
        if untried is not None:
            if structure is not None:
                of_structure = [
                    params for params in untried if self._space.structure(params) == structure
                ]
                if not (of_structure or joins):
                    return self.next(number)
                untried = of_structure
            if not untried:
                return None, {}
            if self._grid is not None:
                return next(iter(untried)), {}
        params: Params = {}
        for draw in range(_MAX_DRAWS):
            params = self._draw(number, draw, structure or {})
            if sampling.key_of(params) not in self._tried:
                return params, self._marks()
        if untried is not None:
            rng = random.Random(sampling.trial_seed(self._settings.seed, number, _MAX_DRAWS))
            return rng.choice(list(untried)), {}
        return params, self._marks()

    def _marks(self) -> dict[str, Any]:
        return {NOTES: self._notes} if self._notes else {}

    def new_structure(self, number: int, tried: Sequence[Params]) -> Params:
        """Returns the structural parameters of a random trial, if possible untried ones."""
        structure: Params = {}
        for draw in range(_MAX_DRAWS):
            seed = sampling.trial_seed(self._settings.seed, number, _MAX_DRAWS + 1 + draw)
            sampler = optuna.samplers.RandomSampler(seed=seed)
            structure = self._space.structure(propose(self._view(), sampler, self._space, number))
            if structure not in tried:
                break
        return structure

    def _enqueued(self) -> list[Params]:
        queue: list[Params] = self._study.user_attrs.get("enqueued", [])
        return queue

    def _origins(self) -> list[Origin | None]:
        """Returns the origin of each that was enqueued; studies of earlier versions noted none."""
        known: list[Origin | None] = self._study.user_attrs.get("origins", [])
        return known + [None] * (len(self._enqueued()) - len(known))

    def _draw(self, number: int, draw: int, fixed: Mapping[str, Scalar]) -> Params:
        sampler = sampling.make_sampler(
            self._settings.sampler,
            self._space,
            self._settings.direction,
            seed=self._settings.seed,
            number=number,
            draw=draw,
            several=bool(self._settings.further),
        )
        trials = self._study.get_trials(deepcopy=False)
        seen: Sequence[FrozenTrial] | None = self._history.of(trials)
        if earlier := warm_start.kept(self._study):
            s = self._settings
            most = s.sampler.population_size or sampling.POPULATION
            shown = warm_start.frozen(earlier, trials, self._space, s.direction, most)
            seen = [*shown, *(trials if seen is None else seen)]
        if self._settings.sampler.name == "nsga2" or self._settings.further:
            seen = [as_infeasible(trial) for trial in (trials if seen is None else seen)]
        study = self._view(seen)
        params = propose(study, sampler, self._space, number, fixed)
        self._notes = {
            key: value
            for key, value in getattr(study._storage, "notes", {}).items()
            if sampling.stores_notes(self._settings.sampler.name)
        }
        return params

    def _view(self, trials: Sequence[FrozenTrial] | None = None) -> optuna.Study:
        return view(self._study, self._storage, trials)
