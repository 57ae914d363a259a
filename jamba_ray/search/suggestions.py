"""Parameters for the next new trial: enqueued ones first, then what the sampler says, never twice
what was tried while something else is left."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

import optuna

from jamba_ray.config.space import Params, Scalar
from jamba_ray.errors import ConfigError
from jamba_ray.search import sampling
from jamba_ray.search.proposal import contains, distribution, propose
from jamba_ray.search.settings import StudySettings

_MAX_DRAWS = 8
"""A draw that was tried before is drawn again at most so often."""


class Suggestions:
    """What to try next in ``study``; a function of the study and the settings alone."""

    def __init__(self, study: optuna.Study, settings: StudySettings) -> None:
        self._study, self._settings = study, settings
        self._space = settings.space
        self._grid = (
            sampling.grid_order(self._space, settings.seed)
            if settings.sampler.name == "grid"
            else None
        )
        self._all = self._grid if self._grid is not None else sampling.listed(self._space)
        self._tried: set[str] = set()

    @property
    def n_combinations(self) -> int | None:
        """How many parameter sets there are; None where there are too many to list."""
        return None if self._all is None else len(self._all)

    def tried(self, params: Params) -> None:
        """Remember that a trial has these parameters."""
        self._tried.add(sampling.key_of(params))

    def enqueue(self, params: Mapping[str, Scalar]) -> None:
        """Try these values in the next new trial; parameters not given are sampled.

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
        self._study.set_user_attr("enqueued", [*self._enqueued(), dict(params)])

    def exhausted(self) -> str | None:
        """Why there is nothing more to try, as a sentence's end; None: there is."""
        if self._all is None or self._n_taken() < len(self._enqueued()) or self._untried():
            return None
        return f"all {len(self._all)} parameter sets of the search space have been tried"

    def next(
        self, number: int, *, shape: Params | None = None, joins: bool = False
    ) -> tuple[Params | None, dict[str, Any]]:
        """Parameters of a new trial (None: all were tried), and marks to keep with it.

        ``shape``: its structural parameters are these. ``joins``: it is to join a stack; what was
        enqueued does not, it begins one.
        """
        queue = self._enqueued()
        if queue and (taken := self._n_taken()) < len(queue):
            if joins:
                return None, {}
            return self._draw(number, 0, queue[taken]), {"enqueued": taken}
        untried = None if self._all is None else self._untried()
        if untried is not None:
            if shape is not None:
                of_shape = [params for params in untried if self._space.shape(params) == shape]
                if not (of_shape or joins):
                    return self.next(number)
                untried = of_shape
            if not untried:
                return None, {}
            if self._grid is not None:
                return untried[0], {}
        params: Params = {}
        for draw in range(_MAX_DRAWS):
            params = self._draw(number, draw, shape or {})
            if sampling.key_of(params) not in self._tried:
                return params, {}
        if untried is not None:
            rng = random.Random(sampling.trial_seed(self._settings.seed, number, _MAX_DRAWS))
            return rng.choice(untried), {}
        return params, {}

    def new_shape(self, number: int, tried: Sequence[Params]) -> Params:
        """The structural parameters of a random trial, if possible none that were ``tried``."""
        shape: Params = {}
        for draw in range(_MAX_DRAWS):
            seed = sampling.trial_seed(self._settings.seed, number, _MAX_DRAWS + 1 + draw)
            sampler = optuna.samplers.RandomSampler(seed=seed)
            shape = self._space.shape(propose(self._study, sampler, self._space, number))
            if shape not in tried:
                break
        return shape

    def _untried(self) -> list[Params]:
        return [p for p in self._all or [] if sampling.key_of(p) not in self._tried]

    def _enqueued(self) -> list[Params]:
        queue: list[Params] = self._study.user_attrs.get("enqueued", [])
        return queue

    def _n_taken(self) -> int:
        trials = self._study.get_trials(deepcopy=False)
        return sum("enqueued" in trial.user_attrs for trial in trials)

    def _draw(self, number: int, draw: int, fixed: Mapping[str, Scalar]) -> Params:
        sampler = sampling.make_sampler(
            self._settings.sampler,
            self._space,
            seed=self._settings.seed,
            number=number,
            draw=draw,
        )
        return propose(self._study, sampler, self._space, number, fixed)
