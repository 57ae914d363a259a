"""Holds what plug-ins add beside model families, by name: metrics, losses, samplers, pruners,
callbacks and trackers. ``jamba_ray.plugins`` fills it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import WrapValidator
from pydantic_core import PydanticKnownError


class PluginError(ValueError):
    """Says what a plug-in that registers itself must do otherwise."""


@dataclass(frozen=True)
class TrackerPlugin:
    """Describes a tracker of a plug-in."""

    make: Callable[..., Any]
    """``make(folder, project)`` returns a service (``jamba_ray.tracking.follower.Service``)."""
    title: str
    """As sentences call it."""


class OutageError(Exception):
    """Reports that a tracker's service accepts nothing now; the message is one sentence without a
    full stop."""


@dataclass(frozen=True)
class MetricPlugin:
    """Describes a metric of a plug-in."""

    compute: Callable[..., float]
    """(labels [N] in {0, 1}, scores [N]) -> value; and ``weights`` [N] where it asks for them."""
    direction: Literal["maximize", "minimize"]


METRICS: dict[str, MetricPlugin] = {}
LOSSES: dict[str, Callable[..., Any]] = {}
"""By name: (logits, labels) -> the loss of each row, tensors of one shape."""
SAMPLERS: dict[str, Callable[..., Any]] = {}
"""By name: ``make(seed=...)`` returns an Optuna sampler."""
PRUNERS: dict[str, Callable[..., Any]] = {}
"""By name: ``make()`` returns an Optuna pruner."""
CALLBACKS: dict[str, Callable[[], Any]] = {}
"""By name: a class whose object has some of ``EVENTS``."""
TRACKERS: dict[str, TrackerPlugin] = {}
EVENTS = ("on_trial_end", "on_best", "on_sweep_end")
TROUBLES: dict[str, str] = {}
"""Metric -> a sentence that says why it has no value, where it is not what decides."""


def add(registry: dict[str, Any], what: str, name: str, value: Any) -> None:
    """Registers ``value`` by ``name``; the same name again replaces it if the code is the same.

    Raises:
        PluginError: Another thing has this name.
    """
    known = registry.get(name)
    if known is not None and _place(known) != _place(value):
        raise PluginError(f"the {what} {name!r} is already registered by {_place(known)}")
    registry[name] = value


def open_to(registry: Mapping[str, Any], own: tuple[str, ...]) -> WrapValidator:
    """Returns a validator beside a ``Literal`` of our ``own`` names that also takes what plug-ins
    have registered: ``Annotated[Literal["tpe", ...], open_to(SAMPLERS, (...))]``."""

    def validated(value: Any, ours: Callable[[Any], Any]) -> Any:
        if not registry or value in own or not isinstance(value, str):
            return ours(value)
        if value in registry:
            return value
        known = [*own, *sorted(registry)]
        listed = f"{', '.join(map(repr, known[:-1]))} or {known[-1]!r}"
        raise PydanticKnownError("literal_error", {"expected": listed})

    return WrapValidator(validated)


def _place(value: Any) -> str:
    code = value
    if isinstance(value, MetricPlugin):
        code = value.compute
    elif isinstance(value, TrackerPlugin):
        code = value.make
    owner = code if hasattr(code, "__qualname__") else type(code)
    return f"{owner.__module__}.{owner.__qualname__}"
