"""Registers model families: a name, the section that configures it, and who trains it.

It lives below the models so that a configuration can be validated without knowing any model; each
module in ``jamba_ray.models`` registers its family when imported.
"""

from __future__ import annotations

from typing import Literal

from jamba_ray.config.section import Section

Trainer = Literal["gradient", "boosting"]
"""``gradient``: a ``torch.nn.Module`` (it stacks). ``boosting``: trees, one trial at a time."""


class ModelSection(Section):
    """Defines what every model family's section has; subclasses add a ``name: Literal[...]`` and
    fields."""

    name: str


FAMILIES: dict[str, type[ModelSection]] = {}
"""Family name -> its section. Filled by importing ``jamba_ray.models``."""

TRAINERS: dict[str, Trainer] = {}
"""Family name -> who trains it."""


def register_family(name: str, section: type[ModelSection], trainer: Trainer) -> None:
    """Makes ``model.name: <name>`` known.

    Registering a name twice is a programming error.
    """
    known = FAMILIES.get(name)
    if known is not None and known.__qualname__ != section.__qualname__:
        raise ValueError(f"the model family {name!r} is already registered by {known.__qualname__}")
    FAMILIES[name] = section
    TRAINERS[name] = trainer
