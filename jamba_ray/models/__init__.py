"""Defines the model families; each file that calls ``registry.register`` adds one, nothing else
lists them."""

from __future__ import annotations

import importlib
import pkgutil

import torch
from torch import nn

from jamba_ray.config.family import FAMILIES, ModelSection
from jamba_ray.data.prepared import FeatureSchema
from jamba_ray.errors import ConfigError
from jamba_ray.models.dropout import Dropout, number_layers
from jamba_ray.models.registry import BUILDERS

__all__ = ["begin_at", "build", "discover"]

_BIASES = ("head.bias", "head_bias")
"""Names of the parameter that is added to the logit of a family's module."""


def discover() -> tuple[str, ...]:
    """Imports every file of this package, so that each registers its family; returns the names
    now known."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    return tuple(sorted(FAMILIES))


def build(section: ModelSection, schema: FeatureSchema, *, seed: int | None = None) -> nn.Module:
    """Builds the module of ``section``: ``forward(x_num [B, F_n], x_cat [B, F_c] int64) -> logits
    [B]``.

    Weights are drawn from torch's global generator, or from ``seed`` alone with that generator
    left as it was. Sections that agree in their structural fields give parameters and buffers of
    the same names and shapes, so such modules stack (``torch.func.stack_module_state``).

    Raises:
        ConfigError: ``model.input_dim`` is not what the data has, or the family has no module.
    """
    builder = BUILDERS.get(section.name)
    if builder is None:
        raise ConfigError(
            [
                f"`model.name` must be one of {', '.join(sorted(BUILDERS))} to build a network, "
                f"but is {section.name!r}. Train it through `jamba_ray.training.fit` instead."
            ]
        )
    input_dim = getattr(section, "input_dim", None)
    if input_dim is not None and input_dim != schema.input_dim:
        raise ConfigError(
            [
                f"`model.input_dim` must be the number of features in the data "
                f"({schema.input_dim}), but is {input_dim}. Drop it to take it from the data."
            ]
        )
    if seed is None:
        module = builder(section, schema)
    else:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            module = builder(section, schema)
    _exact_dropout(module)
    number_layers(module)
    return module


def begin_at(module: nn.Module, log_odds: float) -> None:
    """Sets the last bias of a network that is not trained yet, so that its scores begin near
    ``log_odds``; a module of a plug-in that has no ``head`` stays as it is."""
    for name, parameter in module.named_parameters():
        if name in _BIASES:
            nn.init.constant_(parameter, log_odds)


def _exact_dropout(module: nn.Module) -> None:
    """Replaces torch's dropout, which draws from a generator that all share, by our own, so that
    any module stacks and resumes exactly."""
    for path, child in list(module.named_modules(remove_duplicate=False)):
        if path and type(child) is nn.Dropout and child.p < 1.0:
            parent, _, name = path.rpartition(".")
            setattr(module.get_submodule(parent), name, Dropout(child.p))


discover()
