"""Registers what users bring: model families, metrics, losses, samplers, pruners, callbacks and
trackers.

A module that calls these is named by ``plugins=[mypkg.threats]``; it is then imported wherever the
run needs it, and its version and a digest of its source are part of the experiment. See
``docs/how-to/plugins.md``. What ships with jamba_ray goes through the same registries.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from pydantic import create_model

from jamba_ray.config import plugins as registry
from jamba_ray.config.family import ModelSection
from jamba_ray.config.plugins import OutageError, PluginError
from jamba_ray.config.section import FUSIBLE
from jamba_ray.estimators import estimator as estimators
from jamba_ray.estimators.adapted import Plain, adapted
from jamba_ray.estimators.estimator import Columns, Estimator, Saved, Task
from jamba_ray.evaluation.metrics import add_plugin

if TYPE_CHECKING:
    from jamba_ray.models.registry import ModuleBuilder

__all__ = [
    "STACKABLE",
    "Columns",
    "Estimator",
    "ModelSection",
    "OutageError",
    "PluginError",
    "Saved",
    "Task",
    "callback",
    "classifier",
    "estimator",
    "loss",
    "metric",
    "network",
    "pruner",
    "sampler",
    "tracker",
]

_OWN_TRACKING = ("local", "wandb", "mlflow", "none")
_OPEN = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T", bound=type)
STACKABLE = FUSIBLE
"""Metadata of a field (``Field(json_schema_extra=STACKABLE)``) in which trials of one batched model
may differ: one that changes no tensor's shape."""


def network(name: str, section: type[ModelSection], *, stacks: bool = True) -> Callable[[F], F]:
    """Registers a network: ``@network("wide", WideSection)`` before a class of ``nn.Module`` or a
    function, called with ``(section, schema)``.

    ``module(x_num [B, F_n], x_cat [B, F_c] int64)`` gives logits [B]. ``schema`` has ``numeric``
    (names), ``cardinalities`` (codes of each categorical feature, from 0) and ``input_dim``.

    Args:
        name: The family's, for ``model.name``.
        section: Its settings: a subclass of ``ModelSection`` whose docstring and fields are its
            help.
        stacks: Whether ``torch.func.vmap`` takes its forward, so that trials of one structure
            train as one batched model.
    """

    def decorated(builder: F) -> F:
        from jamba_ray.models.registry import register  # torch takes a second

        made: ModuleBuilder = builder
        register(name, _named(section, name), made, stacks=stacks)
        return builder

    return decorated


def classifier(
    name: str,
    section: type[ModelSection],
    *,
    to_arrays: Callable[[Any], Plain] | None = None,
    from_arrays: Callable[..., Any] | None = None,
    requires: str | None = None,
) -> Callable[[F], F]:
    """Registers a model with ``fit`` and ``predict_proba``, such as one of scikit-learn:
    ``@classifier("bayes", BayesSection, to_arrays=..., from_arrays=...)`` before a function
    ``make(section, seed)`` that returns an unfitted one.

    It is given [N, F] float32: scaled numbers first, then the codes of categories.

    Args:
        name: The family's, for ``model.name``.
        section: Its settings.
        to_arrays: ``to_arrays(model)`` returns a fitted model as arrays and JSON values by name, or
            as bytes, or as a text; no pickle.
        from_arrays: ``from_arrays(section, plain)`` returns an object with ``predict_proba`` from
            that; a stranger may have made what it is given.
        requires: The package that training needs.
    """

    def decorated(make: F) -> F:
        made = adapted(name, make, to_arrays, from_arrays, requires)
        estimators.register(name, _named(section, name), made)
        return make

    return decorated


def estimator(name: str, section: type[ModelSection]) -> Callable[[T], T]:
    """Registers a subclass of ``Estimator``, which reports after any round of its training:
    ``@estimator("boosted", BoostedSection)``."""

    def decorated(made: T) -> T:
        if not issubclass(made, Estimator):
            raise PluginError(
                f"the family {name!r} must be a subclass of jamba_ray.plugins.Estimator, but "
                f"{made.__name__} is none; `classifier` takes anything with fit and predict_proba"
            )
        estimators.register(name, _named(section, name), made)
        return made

    return decorated


def metric(
    name: str, *, direction: Literal["maximize", "minimize"] = "maximize"
) -> Callable[[F], F]:
    """Registers a metric: ``@metric("cost", direction="minimize")`` before a function
    ``(labels [N] in {0, 1}, scores [N] in [0, 1]) -> number``.

    It may be the ``objective``, and the summary and the report show it with its interval. A third
    parameter ``weights`` [N] gets how often each row counts, which saves time: rows of equal label
    and score are then given once.
    """
    if direction not in ("maximize", "minimize"):
        raise PluginError(
            f"the direction of the metric {name!r} must be 'maximize' or 'minimize', but is "
            f"{direction!r}"
        )

    def decorated(compute: F) -> F:
        _takes(compute, f"the metric {name!r}", ("labels", "scores"), optional="weights")
        add_plugin(name, registry.MetricPlugin(compute, direction))
        return compute

    return decorated


def loss(name: str) -> Callable[[F], F]:
    """Registers a loss of networks, for ``training.loss``: a function ``(logits, labels) -> loss``
    of tensors of one shape, each element a row's; labels may be smoothed."""

    def decorated(compute: F) -> F:
        _takes(compute, f"the loss {name!r}", ("logits", "labels"))
        registry.add(registry.LOSSES, "loss", name, compute)
        return compute

    return decorated


def sampler(name: str) -> Callable[[F], F]:
    """Registers a sampler, for ``sampler.name``: a function or class ``make(seed=...)`` that
    returns an ``optuna.samplers.BaseSampler``.

    It is made anew for each suggestion, from a seed of its own, so that a resumed sweep proposes
    what an uninterrupted one would: what it knows it must read from the study.
    """

    def decorated(make: F) -> F:
        registry.add(registry.SAMPLERS, "sampler", name, make)
        return make

    return decorated


def pruner(name: str) -> Callable[[F], F]:
    """Registers a pruner, for ``pruner.name``: a function or class ``make()`` that returns an
    ``optuna.pruners.BasePruner``; what it knows it must read from the study."""

    def decorated(make: F) -> F:
        registry.add(registry.PRUNERS, "pruner", name, make)
        return make

    return decorated


def callback(made: T) -> T:
    """Registers a class whose object is told what happens, on the driver: ``on_trial_end(trial)``,
    ``on_best(trial)`` and ``on_sweep_end(summary)``, each if it has it.

    A trial has ``number``, ``state``, ``params``, ``value``, ``metrics`` and more; a summary is
    what ``summary.json`` holds. What a callback raises becomes a note of the summary.
    """
    known = [name for name in registry.EVENTS if callable(getattr(made, name, None))]
    if not known:
        raise PluginError(
            f"the callback {made.__name__} must have one of {', '.join(registry.EVENTS)}, but has "
            "none"
        )
    registry.add(registry.CALLBACKS, "callback", f"{made.__module__}.{made.__name__}", made)
    return made


def tracker(name: str, *, title: str | None = None) -> Callable[[F], F]:
    """Registers a tracker, for ``tracking=``: a class or function ``make(folder, project)`` that
    returns a service, in the process that sends to it.

    A service has ``open(run)``, which begins or continues a run, and may have ``close()``. An open
    run has ``next_step`` (the first step that the service does not have, which it must be asked
    for), ``log(rows)`` and ``close(run)``; each raises ``OutageError`` where the service accepts
    nothing. ``jamba_ray.testing.TrackerContract`` tests it.

    Args:
        name: The tracker's.
        title: As sentences call it; None: ``name``.
    """
    if re.fullmatch(r"[a-z][a-z0-9_]{0,31}", name) is None or name in _OWN_TRACKING:
        raise PluginError(
            "the name of a tracker must be 1-32 small letters, digits or '_', and none of "
            f"{', '.join(_OWN_TRACKING)}, but is {name!r}"
        )

    def decorated(make: F) -> F:
        _takes(make, f"the tracker {name!r}", ("folder", "project"))
        added = registry.TrackerPlugin(make, title or name)
        registry.add(registry.TRACKERS, "tracker", name, added)
        return make

    return decorated


def _named(section: type[ModelSection], name: str) -> type[ModelSection]:
    """Returns a section whose ``name`` can only be the family's."""
    field = section.model_fields["name"]
    if not field.is_required():
        return section
    only: Any = Literal[name]
    made: type[ModelSection] = create_model(
        section.__name__,
        __base__=section,
        __module__=section.__module__,
        __doc__=section.__doc__,
        name=(only, name),
    )
    made.__qualname__ = section.__qualname__
    return made


def _takes(
    compute: Callable[..., Any], what: str, names: tuple[str, ...], optional: str | None = None
) -> None:
    """Refuses a function with other parameters than ``names``, whatever those are called."""
    try:
        given = list(inspect.signature(compute).parameters.values())
    except (TypeError, ValueError):
        return  # written in C
    plain = [p for p in given if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    may_take = len(plain) >= len(names) or any(p.kind is p.VAR_POSITIONAL for p in given)
    beyond = [p for p in given if p not in plain[: len(names)] and p.name != optional]
    if not may_take or any(p.default is p.empty and p.kind not in _OPEN for p in beyond):
        raise PluginError(
            f"{what} must be a function of ({', '.join(names)}), but takes "
            f"({', '.join(p.name for p in given)})"
        )
