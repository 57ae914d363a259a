"""Chooses the trials that a sweep begins with: the defaults, then what a user enqueued.

They are trained to their end and stay outside the rungs: a configuration that somebody chose is
mostly better than what a sampler draws, and would stop most of that at the first rung.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jamba_ray.config.names import nearest
from jamba_ray.config.params import flatten, with_params
from jamba_ray.config.run import SweepConfig, TrialConfig
from jamba_ray.config.space import CategoricalLeaf, Parameter, Params, SearchSpace
from jamba_ray.errors import ConfigError
from jamba_ray.study.proposal import contains, distribution


@dataclass(frozen=True)
class FirstTrials:
    """Holds what a new study tries before its sampler is asked."""

    defaults: Params | None = None
    """Trial 0; None: the configuration as composed is not tried."""
    enqueued: tuple[Params, ...] = ()
    """Those of ``enqueue``; parameters not given are sampled."""
    note: str | None = None
    """Why the configuration as composed is not tried although it should be."""
    families: tuple[Params, ...] = ()
    """The defaults of the other families, where the space is over families; tried after
    ``defaults``."""

    def __len__(self) -> int:
        return len(self.enqueued) + len(self.families) + (self.defaults is not None)


def first_trials(config: SweepConfig, space: SearchSpace) -> FirstTrials:
    """Returns the trials that ``config`` asks for before any is sampled.

    Raises:
        ConfigError: With a sentence for each entry of ``enqueue`` that is not in the space.
    """
    enqueued = _enqueued(config, space)
    if not config.default_first:
        return FirstTrials(None, enqueued)
    defaults, families = _defaults(config.trial(), space), _families(config, space)
    if isinstance(defaults, str):
        return FirstTrials(None, enqueued, defaults, families)
    known = [defaults, *families]
    others = tuple(params for params in enqueued if params not in known)
    return FirstTrials(defaults, others, None, families)


def _families(config: SweepConfig, space: SearchSpace) -> tuple[Params, ...]:
    """Returns the defaults of each other family that the space has, as far as they lie in it."""
    leaf = next((p.leaf for p in space.parameters if p.path == "model.name"), None)
    if not isinstance(leaf, CategoricalLeaf):
        return ()
    found = []
    for family in leaf.choices:
        if family != config.model.name:
            params = _defaults(with_params(config.trial(), {"model.name": family}), space)
            found += [] if isinstance(params, str) else [params]
    return tuple(found)


def _defaults(trial: TrialConfig, space: SearchSpace) -> Params | str:
    """Returns a configuration as parameters of the space, or why it is not in it."""
    composed = flatten(trial.model_dump(mode="json"))
    params: Params = {}
    for parameter in space.parameters:
        if not parameter.exists(params, space.base):
            continue
        path, value = parameter.path, composed.get(parameter.path)
        if not _holds(parameter, value):
            return (
                f"Trial 0 is not the configuration as composed: its `{path}` is {value!r}, and the "
                f"search space has {_values(parameter)}."
            )
        params[path] = _as_drawn(parameter, value)
    return params


def _enqueued(config: SweepConfig, space: SearchSpace) -> tuple[Params, ...]:
    parameters = {p.path: p for p in space.parameters}
    found: list[Params] = []
    mistakes: list[str] = []
    for number, entry in enumerate(config.enqueue):
        given = flatten(entry)
        wrong = _mistakes(f"enqueue[{number}]", given, space, parameters)
        if wrong:
            mistakes += wrong
            continue
        params = {p: _as_drawn(parameters[p], given[p]) for p in space.paths if p in given}
        existing = [p.path for p in space.parameters if p.exists(params, space.base)]
        if params.keys() == set(existing):
            mistakes += _combination(f"enqueue[{number}]", config, params)
        if params not in found:
            found.append(params)
    if mistakes:
        raise ConfigError(mistakes)
    return tuple(found)


def _mistakes(
    where: str, given: Mapping[str, Any], space: SearchSpace, parameters: Mapping[str, Parameter]
) -> Sequence[str]:
    if not given:
        return [f"`{where}` must give a parameter, but is empty. Name one of: {_some(parameters)}."]
    mistakes = []
    for path, value in given.items():
        if path not in parameters:
            close = nearest(path, parameters) or f". They are: {_some(parameters)}."
            mistakes.append(f"`{where}` names `{path}`, which is no parameter of the space{close}")
        elif not _holds(parameters[path], value):
            mistakes.append(
                f"`{where}` must have a `{path}` of the search space ({_values(parameters[path])}),"
                f" but has {value!r}."
            )
        elif not parameters[path].exists(given, space.base):
            when = " and ".join(f"{k} = {v}" for k, v in parameters[path].leaf.when.items())
            mistakes.append(
                f"`{where}` must not have `{path}`, which exists only when {when}. "
                "Give that too, or drop it."
            )
    return mistakes


def _combination(where: str, config: SweepConfig, params: Params) -> list[str]:
    try:
        with_params(config.trial(), params)
    except ConfigError as error:
        return [f"`{where}` makes no valid configuration: {error.mistakes[0]}"]
    return []


def _holds(parameter: Parameter, value: Any) -> bool:
    """Says whether a parameter has this value; ``True`` is no 1, and a text no number."""
    if isinstance(parameter.leaf, CategoricalLeaf):
        return any(value == c and _kind(value) == _kind(c) for c in parameter.leaf.choices)
    return _kind(value) == "number" and contains(distribution(parameter.leaf), value)


def _as_drawn(parameter: Parameter, value: Any) -> Any:
    """Returns ``value`` as the sampler would give it: 1 for 1.0 of an integer parameter."""
    drawn = distribution(parameter.leaf)
    return drawn.to_external_repr(drawn.to_internal_repr(value))


def _kind(value: Any) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return "number"
    return type(value).__name__


def _values(parameter: Parameter) -> str:
    leaf = parameter.leaf
    if isinstance(leaf, CategoricalLeaf):
        return ", ".join(map(str, leaf.choices))
    step = f" in steps of {leaf.step:g}" if leaf.step not in (None, 1) else ""
    return f"{leaf.low:g} to {leaf.high:g}{step}"


def _some(parameters: Mapping[str, Parameter]) -> str:
    return ", ".join(parameters)
