"""Registers which function builds the module of a family (section and trainer are in
``config.family``)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from jamba_ray.config.family import ModelSection, Trainer, register_family
from jamba_ray.data.prepared import FeatureSchema

ModuleBuilder = Callable[[Any, FeatureSchema], nn.Module]
"""(own section, schema) -> module; ``forward(x_num [B, F_n], x_cat [B, F_c]) -> logits [B]``. While
it trains it may give [B, H], a logit for each of H heads: each head gets its own loss."""

BUILDERS: dict[str, ModuleBuilder] = {}
"""Family name -> builder, for the families that are trained by gradient."""


def register(
    name: str,
    section: type[ModelSection],
    builder: ModuleBuilder | None,
    trainer: Trainer = "gradient",
    *,
    stacks: bool = True,
) -> None:
    """Adds a family: one call at the end of its file.

    ``builder`` is None for trees; for ``stacks`` see ``register_family``.
    """
    if (builder is None) != (trainer == "boosting"):
        raise ValueError(
            f"family {name!r}: a builder is for 'gradient' families, and only for them"
        )
    register_family(name, section, trainer, stacks=stacks)
    if builder is not None:
        BUILDERS[name] = builder
