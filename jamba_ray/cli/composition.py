"""Composes one validated configuration from the command line with Hydra.

Hydra's compose API is used instead of ``@hydra.main``: the working folder stays, no object is
instantiated, and no callback or launcher of a user's config can run code.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.types import Override, OverrideType
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from jamba_ray.cli.interpolations import refuse_foreign
from jamba_ray.cli.multirun import concrete
from jamba_ray.cli.options import OptionFile, folder, load_families, option_files
from jamba_ray.cli.overrides import parsed, read_text
from jamba_ray.cli.plugged import with_plugins
from jamba_ray.config.family import FAMILIES
from jamba_ray.config.mistakes import validate
from jamba_ray.config.names import nearest
from jamba_ray.config.plugins import TRACKERS
from jamba_ray.config.section import Section
from jamba_ray.config.settings import TextSetting
from jamba_ray.config.yaml_text import YamlTextError, read_yaml_text
from jamba_ray.errors import ConfigError

S = TypeVar("S", bound=Section)

Options = Mapping[str, Mapping[str, OptionFile]]
"""Group -> option -> file."""
_OWN = "__own"
_MAX_UNFOLDED = 100_000_000
_FORBIDDEN_KEYS = ("_target_", "_partial_", "_recursive_", "_convert_", "_args_")
_GLOBAL = re.compile(r"^#\s*@package\s+_global_\s*$", re.MULTILINE)
"""Hydra's words at the top of a file whose settings begin at the root."""
_JOINED = "tracking"
"""The only group of which several options go together."""


def compose_section(
    section: type[S], primary: str, overrides: Sequence[str], config_dir: Path | None = None
) -> S:
    """Composes ``conf/<primary>.yaml`` with the overrides and validates it as ``section``.

    Options also come from ``config_dir``.

    Raises:
        ConfigError: The configuration has mistakes; the message lists them all.
    """
    return validate(section, compose_tree(section, primary, overrides, config_dir))


def compose_tree(
    section: type[Section], primary: str, overrides: Sequence[str], config_dir: Path | None = None
) -> dict[str, Any]:
    """Returns the composed configuration as plain values, missing ones (``???``) left out, with
    the plug-ins that it names imported.

    Raises:
        ConfigError: An override does not parse, an option is unknown, a value could run code, or a
            plug-in cannot be imported.
    """
    known = option_files(config_dir)
    choices, settings = _parse(section, overrides, known)
    choices, family, trackers = _without_new(choices, known)
    _offer(known, choices)
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(folder("conf").resolve()), version_base="1.3"):
            composed = compose(primary, overrides=[o.input_line or "" for o in choices])
        OmegaConf.set_struct(composed, False)
        if family is not None:
            composed.model = {"name": family.value()}
        if trackers is not None:
            new = [one for one in _listed(trackers.value()) if one not in known[_JOINED]]
            composed.tracking = {**composed.tracking, "also": new}
        for found in settings:
            if isinstance(found, Override):
                _apply(composed, found)
            else:
                _put(composed, *found)
        refuse_foreign(OmegaConf.to_container(composed, resolve=False))
        tree = OmegaConf.to_container(composed, resolve=True, throw_on_missing=False)
    except (HydraException, OmegaConfBaseException) as error:
        first = str(error).strip().splitlines()[0]
        raise ConfigError([f"The configuration cannot be composed: {first.rstrip('.')}."]) from None
    if not isinstance(tree, dict):
        raise ConfigError(
            [f"`conf/{primary}.yaml` must be a mapping, but is a {type(tree).__name__}."]
        )
    _refuse_instantiation(tree, "")
    plain = _without_missing({str(key): value for key, value in tree.items()})
    load_families()
    plain = with_plugins(section, plain)
    if family is not None and family.value() not in [*FAMILIES]:
        raise ConfigError(_option_mistakes("model", family, known))
    if trackers is not None and (wrong := _option_mistakes(_JOINED, trackers, known)):
        raise ConfigError(wrong)
    return plain


def to_yaml(section: Section) -> str:
    """Returns a configuration as YAML, in the form of ``--cfg job`` and ``config.yaml``."""
    text: str = yaml.safe_dump(section.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    return text


def part_of(section: Section, path: str) -> str:
    """Returns the part of a configuration at a dotted path, as YAML.

    Raises:
        ConfigError: There is no such part.
    """
    part: Any = section.model_dump(mode="json")
    for name in path.split("."):
        if not isinstance(part, Mapping) or name not in part:
            known = list(part) if isinstance(part, Mapping) else []
            hint = nearest(name, known) or "."
            raise ConfigError(
                [f"`--package` must name a part of the configuration, but {path!r} is none{hint}"]
            )
        part = part[name]
    text: str = yaml.safe_dump(part, sort_keys=False, allow_unicode=True)
    return text if isinstance(part, Mapping | list) else text.removesuffix("...\n")


def _parse(
    section: type[Section], overrides: Sequence[str], known: Options
) -> tuple[list[Override], list[Override | tuple[TextSetting, Any]]]:
    """Returns (choices of group options, settings); ``+`` and ``++`` before a setting are
    accepted."""
    choices: dict[str, Override] = {}  # the last of a group wins, as it does for settings
    settings: list[Override | tuple[TextSetting, Any]] = []
    mistakes: list[str] = []
    # They are imported once the files that may name them are read.
    may_have_plugins = "plugins" in section.model_fields
    for text in overrides:
        if (found := read_text(section, text)) is not None:
            settings.append(found)
            continue
        override = parsed(text)
        if override is None:
            mistakes.append(
                f"`{text}` cannot be read as `name=value`. Quote it for the shell, as in "
                "'search_space.model.n_heads={type: categorical, choices: [2, 4]}', and a text "
                "inside it too, as in 'data.extra_tests={march: \"run=3/march.csv\"}'."
            )
            continue
        key = override.key_or_group
        if key == "hydra" or key.startswith(("hydra.", "hydra/")):
            mistakes.append(f"`{text}` is refused: Hydra's own settings are fixed. Drop it.")
        elif override.is_sweep_override():
            mistakes.append(
                f"`{text}` is refused: it asks Hydra for several runs. "
                f"Give it to a sweep as {concrete(override)}."
            )
        elif key in known and override.type is not OverrideType.DEL:
            if key not in ("model", _JOINED) or not may_have_plugins:
                mistakes += _option_mistakes(key, override, known)
            choices[key] = override
        else:
            settings.append(override)
    if mistakes:
        raise ConfigError(mistakes)
    return list(choices.values()), settings


def _without_new(
    choices: Sequence[Override], known: Options
) -> tuple[list[Override], Override | None, Override | None]:
    """Returns the choices that have files, the model and the trackers that only a plug-in may
    know."""
    kept: list[Override] = []
    family = trackers = None
    for choice in choices:
        group, option = choice.key_or_group, choice.value()
        if group == "model" and option not in [*known[group]]:
            family = choice
        elif group == _JOINED and any(one not in [*known[group]] for one in _listed(option)):
            trackers = choice
            ours = [one for one in _listed(option) if one in [*known[group]]]
            if ours and (some := parsed(f"{group}=[{','.join(ours)}]")) is not None:
                kept.append(some)
        else:
            kept.append(choice)
    return kept, family, trackers


def _listed(option: Any) -> list[Any]:
    return option if isinstance(option, list) else [option]


def _option_mistakes(group: str, override: Override, known: Options) -> list[str]:
    option = override.value()
    registered = {"model": [*FAMILIES], _JOINED: [*TRACKERS]}.get(group, [])
    names = sorted({*known[group], *registered})
    if isinstance(option, list) and group == _JOINED:
        return [
            f"`{group}` must be options out of {', '.join(names)}, but one is {one!r}"
            f"{nearest(str(one), names) or '.'}"
            for one in option
            if one not in names
        ]
    if option in (names if group == _JOINED else [*known[group]]):
        return []
    return [
        f"`{group}={option}` must be one of {', '.join(names)}{nearest(str(option), names) or '.'}"
    ]


def _offer(known: Options, choices: Sequence[Override]) -> None:
    """Registers the option files of users and of ``sweeps/`` with Hydra.

    They are read here, in bounded time and memory. Of sweeps and of groups of the user's own those
    that are chosen, or named in the ``defaults`` of one that is; of the groups of ``conf/`` all,
    and there a broken file is a mistake only where it is chosen.
    """
    chosen = {(one.key_or_group, str(one.value())): one for one in choices}
    ours = [group for group, files in known.items() if any(f.is_ours for f in files.values())]
    wanted = [key for key in chosen if key[0] not in ours]
    wanted += [(group, name) for group in ours for name in known[group]]
    for group, name in wanted:  # it grows while it is read
        file = known[group][name]
        if file.is_ours:
            continue
        override = chosen.get((group, name))
        try:
            node = _read(file.path)
        except ConfigError:
            if override is not None or group not in ours:
                raise
            continue
        named = [key for key in _defaults_of(group, node) if key[1] in known.get(key[0], {})]
        wanted += [key for key in named if key not in wanted]
        # Hydra prefers files of `conf/`, so the name must be one that none of them has.
        stored = f"{name}{_OWN}" if (folder("conf") / group / file.path.name).exists() else name
        is_global = group == "sweep" or _GLOBAL.search(file.path.read_text("utf-8")[:1000])
        package = "_global_" if is_global else None
        ConfigStore.instance().store(name=stored, node=node, group=group, package=package)
        if override is not None:
            # `sweep=x` and `+sweep=x` mean the same to a user; Hydra wants the plus.
            plus = "" if group in ours else "+"
            override.input_line = f"{plus}{group}={stored}"


def _defaults_of(group: str, node: DictConfig) -> Iterator[tuple[str, str]]:
    """Yields (group, option) of each entry of a file's ``defaults``."""
    listed = OmegaConf.to_container(node, resolve=False)
    entries = listed.get("defaults", []) if isinstance(listed, dict) else []
    for entry in entries if isinstance(entries, list) else []:
        if isinstance(entry, str):
            there, _, name = entry.removeprefix("/").rpartition("/")
            yield there or group, name
        elif isinstance(entry, dict):
            for key, value in entry.items():
                of = str(key).removeprefix("override ").strip().removeprefix("/").partition("@")[0]
                for name in value if isinstance(value, list) else [value]:
                    yield of, str(name)


def _read(path: Path) -> DictConfig:
    """Returns the settings of one file of a user or of ``sweeps/``."""
    name = f"{path.parent.name}/{path.name}"
    try:
        text = read_yaml_text(path)
        _refuse_unfolding(text)
        node = OmegaConf.create(text)
    except OSError as error:
        raise ConfigError([f"`{name}` cannot be read: {error.strerror}."]) from None
    except (yaml.YAMLError, OmegaConfBaseException) as error:
        why = " ".join(str(error).split()).rstrip(".")
        raise ConfigError([f"`{name}` is no valid YAML: {why}."]) from None
    plain = OmegaConf.to_container(node, resolve=False)
    if not isinstance(node, DictConfig):
        raise ConfigError([f"`{name}` must hold settings (`name: value`), but holds a list."])
    refuse_foreign(plain)  # Hydra resolves its defaults
    _refuse_instantiation(plain, "")
    return node


def _refuse_unfolding(text: str) -> None:
    """Refuses nested ``${...}`` that could expand without limit, as YAML's aliases can.

    n of them repeat a text at most 3^(n/3) times (each level three times the one below).
    """
    n = text.count("${")
    if n / 3 * math.log(3) + math.log(len(text) + 1) > math.log(_MAX_UNFOLDED):
        raise YamlTextError(f"its {n} `${{...}}` could unfold to too much; write values out")


def _apply(composed: DictConfig, override: Override) -> None:
    key = override.key_or_group
    if override.type is OverrideType.DEL:
        parent, _, last = key.rpartition(".")
        node = OmegaConf.select(composed, parent) if parent else composed
        if node is None or last not in node:
            raise ConfigError([f"`~{key}` must name a setting that is set, but it is not."])
        del node[last]
        return
    # merge=False: a new search-space leaf replaces the old one instead of mixing with it.
    OmegaConf.update(composed, key, override.value(), merge=False, force_add=True)


def _put(composed: DictConfig, found: TextSetting, value: Any) -> None:
    """Sets a text part by part: the last part may have dots, at which ``OmegaConf.update``
    splits."""
    node: Any = composed
    for part in found.path[:-1]:
        if not isinstance(node.get(part), DictConfig):
            node[part] = {}
        node = node[part]
    node[found.path[-1]] = value


def _refuse_instantiation(node: Any, path: str) -> None:
    if isinstance(node, Mapping):
        for key, value in node.items():
            if key in _FORBIDDEN_KEYS:
                raise ConfigError([f"`{path}{key}` is refused: settings run no code. Drop it."])
            _refuse_instantiation(value, f"{path}{key}.")
    elif isinstance(node, list):
        for i, value in enumerate(node):
            _refuse_instantiation(value, f"{path}{i}.")


def _without_missing(tree: dict[str, Any]) -> dict[str, Any]:
    """Removes ``???``, so that the validation names the settings that must be given."""
    return {
        key: _without_missing(value) if isinstance(value, dict) else value
        for key, value in tree.items()
        if value != "???"
    }
