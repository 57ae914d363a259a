"""Defines a search space: a shadow tree of the configuration whose leaves say what to try.

    search_space:
      model:
        n_heads: {type: categorical, choices: [1, 2, 4, 8]}
        dropout_rate: {type: float, low: 0.0, high: 0.5}
      training:
        learning_rate: {type: float, low: 1e-4, high: 1e-2, log: true}

A leaf may carry ``when: {model.name: attention}`` (a value or a list of values): the parameter then
exists only in trials whose other parameters, or whose base configuration, have that value.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field, TypeAdapter, ValidationError, model_validator

from jamba_ray.config.section import Section

Scalar: TypeAlias = bool | int | float | str | None
Params: TypeAlias = dict[str, Scalar]
"""Dotted path -> value, for the parameters that exist in one trial."""


class _Leaf(Section):
    when: dict[str, Scalar | list[Scalar]] = Field(default_factory=dict)


class FloatLeaf(_Leaf):
    """Describes a real number in [low, high]."""

    type: Literal["float"]
    low: float
    high: float
    log: bool = False
    step: Annotated[float, Field(gt=0.0)] | None = None

    @model_validator(mode="after")
    def _is_a_range(self) -> FloatLeaf:
        _check_range(self.low, self.high, self.log, self.step)
        return self


class IntLeaf(_Leaf):
    """Describes an integer in [low, high]."""

    type: Literal["int"]
    low: int
    high: int
    log: bool = False
    step: Annotated[int, Field(ge=1)] = 1

    @model_validator(mode="after")
    def _is_a_range(self) -> IntLeaf:
        _check_range(self.low, self.high, self.log, self.step if self.step != 1 else None)
        return self


class CategoricalLeaf(_Leaf):
    """Describes one of a list of values."""

    type: Literal["categorical"]
    choices: Annotated[tuple[Scalar, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _has_distinct_choices(self) -> CategoricalLeaf:
        if len({(type(c), c) for c in self.choices}) < len(self.choices):
            raise ValueError(
                f"`choices` must be distinct, but are {list(self.choices)}. Drop the repeats"
            )
        return self


Leaf: TypeAlias = Annotated[FloatLeaf | IntLeaf | CategoricalLeaf, Field(discriminator="type")]
_LEAF: TypeAdapter[FloatLeaf | IntLeaf | CategoricalLeaf] = TypeAdapter(Leaf)


class Parameter(Section):
    """Describes one leaf of the space: its dotted path, and whether stack members may differ in
    it."""

    path: str
    leaf: Leaf
    stackable: bool = False

    def exists(self, params: Mapping[str, Scalar], base: Mapping[str, Any]) -> bool:
        """Says whether it exists, given the parameters chosen so far and the base values of the
        rest."""
        for path, wanted in self.leaf.when.items():
            actual = params.get(path, base.get(path))
            if actual not in (wanted if isinstance(wanted, list) else [wanted]):
                return False
        return True


class SearchSpace(Section):
    """Holds the parameters of a sweep; a parameter comes after those that its ``when`` names."""

    parameters: tuple[Parameter, ...] = ()
    base: dict[str, Scalar] = Field(default_factory=dict)
    """Base values of the paths that some ``when`` names and no parameter sets."""

    def structure(self, params: Mapping[str, Scalar]) -> Params:
        """Returns the structural part of ``params``: trials that agree in it can train as one
        stack."""
        stackable = {p.path for p in self.parameters if p.stackable}
        return {path: value for path, value in params.items() if path not in stackable}

    @property
    def paths(self) -> tuple[str, ...]:
        """Returns the dotted paths, in order."""
        return tuple(p.path for p in self.parameters)

    def n_combinations(self) -> int | None:
        """Counts the distinct parameter sets; None where some parameter is continuous."""
        total = 0
        for combination in self.grid():
            if combination is None:
                return None
            total += 1
            if total > 1_000_000:
                return None
        return total

    def grid(self) -> Iterator[Params | None]:
        """Yields every parameter set; yields a single None where some parameter is continuous."""
        if any(values(p.leaf) is None for p in self.parameters):
            yield None
            return
        yield from self._grid_from(0, {})

    def _grid_from(self, i: int, chosen: Params) -> Iterator[Params]:
        if i == len(self.parameters):
            yield dict(chosen)
            return
        parameter = self.parameters[i]
        if not parameter.exists(chosen, self.base):
            yield from self._grid_from(i + 1, chosen)
            return
        for value in values(parameter.leaf) or ():
            yield from self._grid_from(i + 1, {**chosen, parameter.path: value})


def values(leaf: FloatLeaf | IntLeaf | CategoricalLeaf) -> Sequence[Scalar] | None:
    """Returns the finite list of values of a leaf, or None for a continuous range."""
    if isinstance(leaf, CategoricalLeaf):
        return leaf.choices
    if isinstance(leaf, IntLeaf):
        return range(leaf.low, leaf.high + 1, leaf.step)
    if leaf.step is None:
        return None
    n = math.floor((leaf.high - leaf.low) / leaf.step + 1e-9)
    return [leaf.low + i * leaf.step for i in range(n + 1)]


def parse_leaves(tree: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Walks a shadow tree into {dotted path: leaf}, with a sentence for each leaf that is wrong."""
    leaves: dict[str, Any] = {}
    mistakes: list[str] = []
    for path, node in _walk(tree, ""):
        if not isinstance(node, Mapping):
            mistakes.append(
                f"`search_space.{path}` must be a leaf such as {{type: float, low: 0, high: 1}}, "
                f"but is {node!r}. To fix a value instead, set `{path}={node}`."
            )
            continue
        try:
            leaves[path] = _LEAF.validate_python(node)
        except ValidationError as error:
            mistakes.extend(_leaf_mistakes(path, node, error))
    return leaves, mistakes


def in_order(leaves: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Returns paths in an order where each follows those its ``when`` names, and a mistake if
    there is none."""
    ordered: list[str] = []
    waiting = list(leaves)
    while waiting:
        ready = [p for p in waiting if all(q not in leaves or q in ordered for q in leaves[p].when)]
        if not ready:
            return ordered, [
                f"`when` must not go round in a circle, but does among {', '.join(waiting)}. "
                "Drop one of these conditions."
            ]
        ordered += ready
        waiting = [p for p in waiting if p not in ready]
    return ordered, []


def _walk(tree: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, node in tree.items():
        path = f"{prefix}{key}"
        is_branch = isinstance(node, Mapping) and not ({"type", "low", "choices"} & node.keys())
        if is_branch:
            yield from _walk(node, f"{path}.")
        else:
            yield path, node


def _check_range(low: float, high: float, log: bool, step: float | None) -> None:
    if low > high:
        raise ValueError(f"`low` must not exceed `high` ({high:g}), but is {low:g}. Swap them")
    if log and low <= 0:
        raise ValueError(
            f"`low` must be positive with `log: true`, but is {low:g}. Raise it or drop `log`"
        )
    if log and step is not None:
        raise ValueError(
            f"`step` must not be given with `log: true`, but is {step:g}. Drop one of them"
        )


def _leaf_mistakes(path: str, node: Mapping[str, Any], error: ValidationError) -> list[str]:
    where = f"search_space.{path}"
    sentences = []
    for problem in error.errors():
        if problem["type"] in {"union_tag_invalid", "union_tag_not_found"}:
            sentences.append(
                f"`{where}.type` must be float, int or categorical, but is {node.get('type')!r}."
            )
            continue
        at = ".".join([where, *(str(part) for part in problem["loc"][1:])])
        message = str(problem.get("ctx", {}).get("error", problem["msg"]))
        if problem["type"] == "extra_forbidden":
            message = "is no key of a leaf. Use type, low, high, log, step, choices or when"
            sentences.append(f"`{at}` {message}.")
        elif problem["type"] == "missing":
            sentences.append(f"`{at}` is missing.")
        elif problem["type"] == "value_error":
            sentences.append(f"`{at}`: {message}.")
        else:
            sentences.append(f"`{at}`: {message}, but it is {problem['input']!r}.")
    return sentences
