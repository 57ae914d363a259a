"""Lists the options that a command line may choose (``model=mlp``, ``+sweep=rivals``).

They are the files of ``conf/`` and ``sweeps/``, and the user's own.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path

from jamba_ray.config.family import FAMILIES

_PACKAGE = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class OptionFile:
    """Holds the file of one option."""

    path: Path
    is_ours: bool
    """Whether it ships with jamba_ray as a file of ``conf/``, where Hydra finds it."""


def folder(name: str) -> Path:
    """Returns the folder ``conf`` or ``sweeps``: of the checkout if there is one, else of the
    wheel."""
    checkout = _PACKAGE.parent / name
    return (
        checkout if (checkout / "..").joinpath("pyproject.toml").exists() else _PACKAGE / f"_{name}"
    )


def option_files(config_dir: Path | None = None) -> dict[str, dict[str, OptionFile]]:
    """Returns the file of each option of each group, of the user's own groups too.

    Among options of the same name the user's own takes precedence: ``./conf`` and ``./sweeps`` over
    those that ship with jamba_ray, ``config_dir`` over all.
    """
    ours = folder("conf")
    own = [place for place in (Path.cwd() / "conf", config_dir) if place is not None]
    names = {path.name for place in (ours, *own) for path in place.glob("*") if path.is_dir()}
    found: dict[str, dict[str, OptionFile]] = {}
    for group in sorted(names):
        shipped = {f.stem: OptionFile(f, True) for f in sorted((ours / group).glob("*.yaml"))}
        found[group] = shipped | _in([place / group for place in own if not _is(place, ours)])
    sweeps = [folder("sweeps"), Path.cwd() / "sweeps", *(place / "sweep" for place in own)]
    found["sweep"] = _in(sweeps)
    return found


def groups(config_dir: Path | None = None) -> dict[str, list[str]]:
    """Returns the options of each config group: the folders of ``conf/``, and ``sweep``."""
    return {group: sorted(found) for group, found in option_files(config_dir).items()}


def load_families() -> None:
    """Registers every model family that ``conf/model`` names.

    Those that ship with jamba_ray are registered already; their networks, which import torch, are
    imported only for a new one.
    """
    if {path.stem for path in (folder("conf") / "model").glob("*.yaml")} - FAMILIES.keys():
        importlib.import_module("jamba_ray.models")


def _in(places: list[Path]) -> dict[str, OptionFile]:
    return {f.stem: OptionFile(f, False) for place in places for f in sorted(place.glob("*.yaml"))}


def _is(one: Path, other: Path) -> bool:
    return one.is_dir() and one.samefile(other)
