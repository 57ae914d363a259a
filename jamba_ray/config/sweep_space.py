"""Checks a search space against the configuration that it varies, before anything starts."""

from __future__ import annotations

import itertools
import random
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from jamba_ray.config.family import FAMILIES
from jamba_ray.config.names import nearest
from jamba_ray.config.params import flatten, with_params
from jamba_ray.config.run import SweepConfig, TrialConfig
from jamba_ray.config.section import Section, is_stackable
from jamba_ray.config.space import (
    CategoricalLeaf,
    Parameter,
    Scalar,
    SearchSpace,
    in_order,
    parse_leaves,
)
from jamba_ray.config.training import TrainingSection
from jamba_ray.errors import ConfigError

_MAX_COMBINATIONS = 512
"""Corner combinations tried; beyond that a fixed random sample of as many."""
_MAX_SENTENCES = 8


def parse_space(config: SweepConfig) -> SearchSpace:
    """Returns the search space of ``config``, every leaf of it checked against the fields it names.

    Raises:
        ConfigError: With a sentence for each unknown path, wrong leaf, circular ``when`` and each
            combination of extreme values that makes no valid configuration.
    """
    leaves, mistakes = parse_leaves(config.search_space)
    families = reachable_families(config.model.name, leaves)
    base = flatten(config.trial().model_dump(mode="json"))
    for path, leaf in leaves.items():
        mistakes += _path_mistakes(path, leaf, families)
        mistakes += _when_mistakes(path, leaf, leaves, base)
    order, circles = in_order(leaves)
    mistakes += circles
    if mistakes:
        raise ConfigError(mistakes)
    conditions = {q for leaf in leaves.values() for q in leaf.when} - leaves.keys()
    space = SearchSpace(
        parameters=tuple(
            Parameter(path=p, leaf=leaves[p], stackable=_stackable(p, families)) for p in order
        ),
        base={q: base[q] for q in sorted(conditions)},
    )
    mistakes = _combination_mistakes(config.trial(), space)
    if mistakes:
        raise ConfigError(mistakes)
    return space


def checked_space(config: SweepConfig) -> SearchSpace:
    """Returns the search space of ``config``, which has a parameter; raises as ``parse_space``."""
    space = parse_space(config)
    if not space.parameters:
        raise ConfigError(
            ["`search_space` must have a parameter, but is empty. Add `+sweep=attention_heads`."]
        )
    return space


def reachable_families(base_family: str, leaves: Mapping[str, Any]) -> list[str]:
    """Returns the model families that trials may have."""
    leaf = leaves.get("model.name")
    if isinstance(leaf, CategoricalLeaf):
        return [str(choice) for choice in leaf.choices]
    return [base_family]


def families_of(base_family: str, space: SearchSpace) -> list[str]:
    """Returns the model families that trials of ``space`` may have, the base's included."""
    leaves = {parameter.path: parameter.leaf for parameter in space.parameters}
    return list(dict.fromkeys([base_family, *reachable_families(base_family, leaves)]))


def without_families(config: SweepConfig, missing: Collection[str]) -> SweepConfig:
    """Returns ``config`` without trials of these families; parameters of theirs alone go too.

    Where it has no other family in its space, it stays as it is.
    """
    names = ((config.search_space.get("model") or {}).get("name") or {}).get("choices", [])
    kept = [name for name in names if name not in missing]
    if not kept or len(kept) == len(names):
        return config
    space = _without(config.search_space, missing)
    space["model"]["name"] = {**space["model"]["name"], "choices": kept}
    return config.model_copy(update={"search_space": space})


def _without(tree: Mapping[str, Any], missing: Collection[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, node in tree.items():
        if not isinstance(node, Mapping):
            found[name] = node
            continue
        when = node.get("when")
        if "type" in node and isinstance(when, Mapping) and "model.name" in when:
            of = when["model.name"]
            left = [one for one in (of if isinstance(of, list) else [of]) if one not in missing]
            if left:
                found[name] = {**node, "when": {**when, "model.name": left}}
            continue
        found[name] = _without(node, missing)
    return found


def _path_mistakes(path: str, leaf: Any, families: Sequence[str]) -> list[str]:
    if path.startswith("data."):
        return [
            f"`search_space.{path}` must not vary the data, which all trials share. "
            f"Run one sweep for each `{path}`."
        ]
    wanted = leaf.when.get("model.name", list(families))
    wanted = wanted if isinstance(wanted, list) else [wanted]
    lacking = [f for f in wanted if f in FAMILIES and field_of(path, f) is None]
    if not lacking:
        return []
    if path.startswith("model.") and len(lacking) < len(wanted):
        having = [f for f in wanted if f not in lacking]
        return [
            f"`search_space.{path}` must exist for every model it applies to, but "
            f"{', '.join(lacking)} has no such setting. "
            f"Add `when: {{model.name: [{', '.join(having)}]}}`."
        ]
    known = sorted(set(itertools.chain.from_iterable(paths_of(f) for f in wanted if f in FAMILIES)))
    hint = nearest(path, known) or ". Search spaces vary `model.*`, `training.*` and `precision`."
    return [f"`search_space.{path}` is not a setting{hint}"]


def _when_mistakes(
    path: str, leaf: Any, leaves: Mapping[str, Any], base: Mapping[str, Any]
) -> list[str]:
    return [
        f"`search_space.{path}.when` must name a parameter or setting, but {q!r} is neither"
        f"{nearest(q, [*leaves, *base]) or '.'}"
        for q in leaf.when
        if q not in leaves and q not in base
    ]


def field_of(path: str, family: str) -> Any:
    """Returns the pydantic field at a dotted path of a trial of ``family``, or None."""
    *branches, name = path.split(".")
    section: Any = TrialConfig
    for i, branch in enumerate(branches):
        if i == 0 and branch == "model":
            section = FAMILIES[family]
            continue
        field = section.model_fields.get(branch)
        section = field.annotation if field is not None else None
        if not (isinstance(section, type) and issubclass(section, Section)):
            return None
    field = section.model_fields.get(name)
    is_section = (
        field is not None
        and isinstance(field.annotation, type)
        and issubclass(field.annotation, Section)
    )
    return None if is_section else field


def paths_of(family: str) -> list[str]:
    """Returns the settings that a search space may vary for trials of ``family``."""
    own = [f"model.{name}" for name in FAMILIES[family].model_fields]
    training = [f"training.{name}" for name in TrainingSection.model_fields]
    return [*own, *training, "precision", "seed"]


def _stackable(path: str, families: Iterable[str]) -> bool:
    fields = [field_of(path, f) for f in families]
    return all(is_stackable(f) for f in fields if f is not None)


def _combination_mistakes(base: TrialConfig, space: SearchSpace) -> list[str]:
    found: dict[str, None] = {}
    for params in _corners(space):
        try:
            with_params(base, params)
        except ConfigError as error:
            for mistake in error.mistakes:
                found.setdefault(f"`search_space` reaches a wrong setting: {mistake}")
        if len(found) >= _MAX_SENTENCES:
            break
    return list(found)


def _corners(space: SearchSpace) -> Iterator[dict[str, Scalar]]:
    """Yields parameter sets of extreme values and all choices: every one, or a sample of a fixed
    seed."""
    extremes = [
        p.leaf.choices if isinstance(p.leaf, CategoricalLeaf) else (p.leaf.low, p.leaf.high)
        for p in space.parameters
    ]
    n_all = 1
    for choices in extremes:
        n_all *= len(choices)
    if n_all <= _MAX_COMBINATIONS:
        combinations: Iterable[tuple[Scalar, ...]] = itertools.product(*extremes)
    else:
        rng = random.Random(0)
        combinations = (tuple(rng.choice(c) for c in extremes) for _ in range(_MAX_COMBINATIONS))
    for combination in combinations:
        params: dict[str, Scalar] = {}
        for parameter, value in zip(space.parameters, combination, strict=True):
            if parameter.exists(params, space.base):
                params[parameter.path] = value
        yield params
