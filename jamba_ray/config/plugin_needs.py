"""Holds what a configuration that was written earlier needs of plug-ins against what is imported.

A checkpoint may come from a stranger: what it names is said, and never imported.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from jamba_ray.config.family import FAMILIES
from jamba_ray.config.plugin_modules import LOADED, load_installed, name_of
from jamba_ray.config.plugins import LOSSES, METRICS
from jamba_ray.config.search import OBJECTIVES
from jamba_ray.errors import ConfigError

_OURS = "jamba_ray"


class PluginChangedWarning(UserWarning):
    """Warns of a plug-in whose source is not that with which a model was trained."""


def require_plugins(written: Mapping[str, Any]) -> None:
    """Refuses the configuration of a trial that needs what is not imported; an entry point of an
    installed package is imported for it.

    Raises:
        ConfigError: It says which ``plugins`` to give.
    """
    texts = [text for text in _listed(written.get("plugins")) if isinstance(text, str)]
    if texts and (unknown := set(_unknown(written))):
        load_installed(unknown)
        if unknown := set(_unknown(written)):
            names = [name_of(text) for text in texts]
            raise ConfigError(
                [
                    f"The model needs {' and '.join(map(repr, sorted(unknown)))} of the plug-in "
                    f"{' or '.join(texts)}, which is not imported. If you trust it (it is code), "
                    f"give `plugins=[{','.join(names)}]`."
                ]
            )
    for text in texts:
        here = LOADED.get(name_of(text))
        if here is not None and here.text != text:
            warnings.warn(
                f"The model was trained with the plug-in {text}, but {here.text} is imported: its "
                "scores may be others.",
                PluginChangedWarning,
                stacklevel=3,
            )


def require_named(families: Iterable[str], objective: str, loss: str) -> None:
    """Refuses what was registered in this process by a module that no other process imports.

    Raises:
        ConfigError: It says which ``plugins`` to give.
    """
    sections = {name: FAMILIES[name].__module__ for name in families if name in FAMILIES}
    code = {
        objective: METRICS[objective].compute.__module__ if objective in METRICS else _OURS,
        loss: LOSSES[loss].__module__ if loss in LOSSES else _OURS,
    }
    sent = {
        name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        for plugin in LOADED.values()
        for name in plugin.files
    }
    tops = {plugin.module.partition(".")[0] for plugin in LOADED.values() if not plugin.files}
    mistakes = [
        f"{name!r} is registered by the module {module!r}, which the workers do not import. Put it "
        f"into a file of its own, if it is not, and give `plugins=[{module}]`."
        for name, module in {**sections, **code}.items()
        if module.partition(".")[0] not in {_OURS, *tops} and module not in sent
    ]
    if mistakes:
        raise ConfigError(mistakes)


def _unknown(written: Mapping[str, Any]) -> Iterator[str]:
    """Yields the names that nothing here has registered."""
    model, training = written.get("model"), written.get("training")
    family = model.get("name") if isinstance(model, Mapping) else None
    if isinstance(family, str) and family not in FAMILIES:
        yield family
    objective = written.get("objective")
    if isinstance(objective, str) and objective not in OBJECTIVES and objective not in METRICS:
        yield objective
    loss = training.get("loss", "cross_entropy") if isinstance(training, Mapping) else None
    if isinstance(loss, str) and loss != "cross_entropy" and loss not in LOSSES:
        yield loss


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
