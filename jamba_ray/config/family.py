"""Registers model families: a name, the section that configures it, and who trains it.

It lives below the models so that a configuration can be validated without knowing any model; each
module in ``jamba_ray.models`` and ``jamba_ray.estimators`` registers its family when imported.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import Literal

from jamba_ray.config.plugins import PluginError
from jamba_ray.config.section import Section

Trainer = Literal["gradient", "boosting", "estimator"]
"""``gradient``: a ``torch.nn.Module`` (it stacks). ``boosting``: LightGBM's trees. ``estimator``: a
``jamba_ray.estimators.estimator.Estimator``. The latter two train one trial at a time."""


class ModelSection(Section):
    """Defines what every model family's section has; subclasses add a ``name: Literal[...]`` and
    fields."""

    name: str


FAMILIES: dict[str, type[ModelSection]] = {}
"""Family name -> its section. Filled by importing what defines the families."""

TRAINERS: dict[str, Trainer] = {}
"""Family name -> who trains it."""


ALONE: set[str] = set()
"""Families of networks whose trials train one at a time: their modules cannot be batched."""


def register_family(
    name: str, section: type[ModelSection], trainer: Trainer, *, stacks: bool = True
) -> None:
    """Makes ``model.name: <name>`` known.

    Args:
        name: Of the family.
        section: Its settings.
        trainer: Who trains it.
        stacks: Whether networks of one structure train as one batched model.

    Raises:
        PluginError: Another section has this name.
    """
    known = FAMILIES.get(name)
    if known is not None and _place(known) != _place(section):
        raise PluginError(f"the model family {name!r} is already registered by {_place(known)}")
    FAMILIES[name] = section
    TRAINERS[name] = trainer
    (ALONE.discard if stacks else ALONE.add)(name)


def stacks(name: str) -> bool:
    """Says whether trials of the family may train as one batched model."""
    return not trains_alone(name) and name not in ALONE


def _place(section: type[ModelSection]) -> str:
    return f"{section.__module__}.{section.__qualname__}"


def trains_alone(name: str) -> bool:
    """Says whether trials of the family train one by one, in one process each."""
    return TRAINERS.get(name, "gradient") != "gradient"


def discover(package: str) -> None:
    """Imports every file of a package (not its folders), so that each registers its family.

    It is given by name, as a plug-in is, because families lie above the configuration.
    """
    for file in pkgutil.iter_modules(importlib.import_module(package).__path__):
        if not file.ispkg:
            importlib.import_module(f"{package}.{file.name}")
