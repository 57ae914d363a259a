"""Makes a trial's configuration of the base configuration and the trial's parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jamba_ray.config.family import FAMILIES
from jamba_ray.config.mistakes import validate
from jamba_ray.config.run import TrialConfig
from jamba_ray.config.space import Scalar


def with_params(base: TrialConfig, params: Mapping[str, Scalar]) -> TrialConfig:
    """Returns ``base`` with the dotted ``params`` put in.

    Where ``model.name`` names another family than the base's, the model section starts from that
    family's defaults: fields of one family mean nothing to another.

    Raises:
        ConfigError: The combination is not valid (say ``n_heads`` that does not divide
            ``hidden_dim``).
    """
    tree = base.model_dump(mode="json")
    family = params.get("model.name", base.model.name)
    if family != base.model.name and family in FAMILIES:
        tree["model"] = {"name": family}
    for path, value in params.items():
        put(tree, path, value)
    return validate(TrialConfig, tree)


def put(tree: dict[str, Any], path: str, value: Any) -> None:
    """Sets a dotted path in nested dictionaries, making the branches it needs."""
    *branches, leaf = path.split(".")
    for branch in branches:
        tree = tree.setdefault(branch, {})
    tree[leaf] = value


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns nested dictionaries as {dotted path: leaf value}."""
    flat: dict[str, Any] = {}
    for key, node in tree.items():
        path = f"{prefix}{key}"
        if isinstance(node, Mapping):
            flat |= flatten(node, f"{path}.")
        else:
            flat[path] = node
    return flat
