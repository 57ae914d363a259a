"""From the command line to one validated configuration: the only place that knows Hydra.

Hydra's compose API is used rather than ``@hydra.main``: nothing changes the working folder, nothing
is instantiated, and no callback or launcher of a user's config can run code.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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

import jamba_ray.models  # noqa: F401  (registers the model families)
from jamba_ray.cli.interpolations import refuse_foreign
from jamba_ray.cli.overrides import parsed, read_text
from jamba_ray.config.mistakes import validate
from jamba_ray.config.names import nearest
from jamba_ray.config.section import Section
from jamba_ray.config.settings import TextSetting
from jamba_ray.config.yaml_text import YamlTextError, read_yaml_text
from jamba_ray.errors import ConfigError

S = TypeVar("S", bound=Section)

_PACKAGE = Path(__file__).resolve().parent.parent
_MAX_UNFOLDED = 100_000_000
_FORBIDDEN_KEYS = ("_target_", "_partial_", "_recursive_", "_convert_", "_args_")


@dataclass(frozen=True)
class Flags:
    """What begins with a dash on the command line."""

    help: bool = False
    cfg_job: bool = False


def folder(name: str) -> Path:
    """The ``conf`` or ``sweeps`` folder: of the checkout if there is one, else the wheel's copy."""
    checkout = _PACKAGE.parent / name
    return (
        checkout if (checkout / "..").joinpath("pyproject.toml").exists() else _PACKAGE / f"_{name}"
    )


def groups() -> dict[str, list[str]]:
    """Config group -> its options: the folders of ``conf/``, and ``sweep``."""
    found = {
        path.name: sorted(f.stem for f in path.glob("*.yaml"))
        for path in sorted(folder("conf").iterdir())
        if path.is_dir()
    }
    return {**found, "sweep": sorted(sweep_files())}


def sweep_files() -> dict[str, Path]:
    """Sweep name -> file; those of ``./sweeps`` come before those that ship with jamba_ray."""
    folders = (folder("sweeps"), Path.cwd() / "sweeps")
    return {f.stem: f for place in folders for f in sorted(place.glob("*.yaml"))}


def split_flags(argv: Sequence[str]) -> tuple[Flags, list[str]]:
    """Separate flags from overrides.

    Raises:
        ConfigError: For a flag that is unknown or, as ``--multirun``, refused.
    """
    overrides = [arg for arg in argv if not arg.startswith("-")]
    dashed = [arg for arg in argv if arg.startswith("-")]
    mistakes = []
    if "--cfg" in dashed:
        if "job" in overrides:
            overrides.remove("job")
        else:
            mistakes.append("`--cfg` must be followed by 'job'. Say `--cfg job`.")
    for flag in dashed:
        if flag in {"-m", "--multirun"}:
            mistakes.append(
                f"`{flag}` is refused: a sweep schedules its own trials. "
                "Put the values into `search_space.<path>={type: categorical, choices: [...]}`."
            )
        elif flag not in {"-h", "--help", "--cfg", "--cfg=job"}:
            mistakes.append(
                f"`{flag}` is not a flag. Settings are written `name=value`; see `--help`."
            )
    if mistakes:
        raise ConfigError(mistakes)
    return Flags(
        help=bool({"-h", "--help"} & set(dashed)),
        cfg_job=bool({"--cfg", "--cfg=job"} & set(dashed)),
    ), overrides


def compose_section(section: type[S], primary: str, overrides: Sequence[str]) -> S:
    """Compose ``conf/<primary>.yaml`` with the overrides and validate it as ``section``.

    Raises:
        ConfigError: With every mistake in it.
    """
    return validate(section, compose_tree(section, primary, overrides))


def compose_tree(section: type[Section], primary: str, overrides: Sequence[str]) -> dict[str, Any]:
    """The composed configuration as plain values, missing ones (``???``) left out.

    Raises:
        ConfigError: For overrides that do not parse, unknown options, and what could run code.
    """
    choices, settings = _parse(section, overrides)
    _register_sweeps(choices)
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(folder("conf").resolve()), version_base="1.3"):
            composed = compose(primary, overrides=[o.input_line or "" for o in choices])
        OmegaConf.set_struct(composed, False)
        for found in settings:
            if isinstance(found, Override):
                _apply(composed, found)
            else:
                _put(composed, *found)
        refuse_foreign(OmegaConf.to_container(composed, resolve=False))
        tree = OmegaConf.to_container(composed, resolve=True, throw_on_missing=False)
    except (HydraException, OmegaConfBaseException) as error:
        first = str(error).strip().splitlines()[0]
        raise ConfigError([f"The configuration cannot be composed: {first}."]) from None
    if not isinstance(tree, dict):
        raise ConfigError(
            [f"`conf/{primary}.yaml` must be a mapping, but is a {type(tree).__name__}."]
        )
    _refuse_instantiation(tree, "")
    return _without_missing({str(key): value for key, value in tree.items()})


def to_yaml(section: Section) -> str:
    """A configuration as YAML, the way ``--cfg job`` and ``config.yaml`` show it."""
    text: str = yaml.safe_dump(section.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    return text


def _parse(
    section: type[Section], overrides: Sequence[str]
) -> tuple[list[Override], list[Override | tuple[TextSetting, Any]]]:
    """(choices of group options, settings); ``+`` and ``++`` before a setting are accepted."""
    known = groups()
    choices: dict[str, Override] = {}  # the last of a group wins, as it does for settings
    settings: list[Override | tuple[TextSetting, Any]] = []
    mistakes: list[str] = []
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
                f"Use `search_space.{key}={{type: categorical, choices: [...]}}`."
            )
        elif key in known and override.type is not OverrideType.DEL:
            mistakes += _option_mistakes(key, override, known)
            choices[key] = override
        else:
            settings.append(override)
    if mistakes:
        raise ConfigError(mistakes)
    return list(choices.values()), settings


def _option_mistakes(group: str, override: Override, known: Mapping[str, list[str]]) -> list[str]:
    option = override.value()
    if option in known[group]:
        return []
    hint = nearest(str(option), known[group]) or "."
    return [f"`{group}={option}` must be one of {', '.join(known[group])}{hint}"]


def _register_sweeps(choices: Sequence[Override]) -> None:
    """Offer the asked-for ``sweeps/<name>.yaml`` as ``+sweep=<name>``.

    Only the one asked for is read, so that a broken sweep file breaks no other sweep. ``sweep`` is
    no folder of ``conf/`` because the user wants ``sweeps/`` at the top level.
    """
    for override in choices:
        if override.key_or_group != "sweep":
            continue
        name = str(override.value())
        try:
            text = read_yaml_text(sweep_files()[name])
            _refuse_unfolding(text)
            node = OmegaConf.create(text)
        except OSError as error:
            raise ConfigError([f"`sweeps/{name}.yaml` cannot be read: {error.strerror}."]) from None
        except (yaml.YAMLError, OmegaConfBaseException) as error:
            why = " ".join(str(error).split()).rstrip(".")
            raise ConfigError([f"`sweeps/{name}.yaml` is no valid YAML: {why}."]) from None
        refuse_foreign(OmegaConf.to_container(node, resolve=False))  # Hydra resolves its defaults
        ConfigStore.instance().store(name=name, node=node, group="sweep", package="_global_")
        # `sweep=x` and `+sweep=x` mean the same to a user; Hydra wants the plus.
        override.input_line = f"+sweep={name}"


def _refuse_unfolding(text: str) -> None:
    """Refuse ``${...}`` of ``${...}`` that could unfold without limit, as YAML's aliases can: n of
    them repeat a text at most 3^(n/3) times (each level three times the one below)."""
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
    """Set a text part by part: the last part may hold dots, which ``OmegaConf.update`` splits."""
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
    """Leave out ``???``, so that validation names what must be given."""
    return {
        key: _without_missing(value) if isinstance(value, dict) else value
        for key, value in tree.items()
        if value != "???"
    }
