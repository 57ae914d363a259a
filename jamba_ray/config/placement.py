"""Defines what a user may say of where trials run: workers, resources and labels of machines."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator

from jamba_ray.config.section import Section

_OURS = {
    "CPU": "cpus_per_trial",
    "GPU": "gpus_per_trial",
    "memory": "data.rows_in",
    "object_store_memory": "data.rows_in",
}
_SPLIT = re.compile(r"(?P<rest>[^\s:]+):\s*(?P<amount>[\d.eE+-]+)\s*")
_LABEL = re.compile(r"[A-Za-z0-9._/-]{1,253}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}")


def _resources(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    found: dict[str, Any] = {}
    for name, amount in value.items():
        # On the command line {accelerator_type:H100: 0.01} is read up to its first colon.
        split = _SPLIT.fullmatch(amount) if isinstance(amount, str) else None
        if split is not None:
            found[f"{name}:{split['rest']}"] = float(split["amount"])
        else:
            found[str(name)] = amount
    for name, amount in found.items():
        if name in _OURS:
            raise ValueError(
                f"must name custom resources of Ray nodes, but has {name!r}, which another setting "
                f"is for. Set `{_OURS[name]}`"
            )
        if not _NAME.fullmatch(name):
            raise ValueError(
                f"must name resources as Ray nodes do, but has {name!r}. "
                "Write for example {accelerator_type:H100: 0.01}"
            )
        if isinstance(amount, bool) or not isinstance(amount, int | float) or not amount > 0:
            raise ValueError(
                f"must give numbers above 0, but {name!r} is {amount!r}. "
                "Write for example {accelerator_type:H100: 0.01}"
            )
        if amount > 1 and amount != int(amount):
            raise ValueError(
                f"must give whole numbers where they are above 1, but {name!r} is {amount:g}: Ray "
                "divides one unit and no more. Round it"
            )
    return found


def _labels(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    for name, one in value.items():
        if not _LABEL.fullmatch(str(name)) or not isinstance(one, str) or not one.strip():
            raise ValueError(
                f"must map labels of Ray nodes to text, but {name!r} is {one!r}. "
                "Write for example {ray.io/market-type: spot}"
            )
    return value


def _workers(value: Any) -> Any:
    if not isinstance(value, list | tuple):
        return value
    is_pair = len(value) == 2 and all(type(n) is int for n in value)
    if not is_pair or not 1 <= value[0] < value[1] <= 4096:
        raise ValueError(
            f"must be a number or [least, most] with 1 <= least < most, but is {list(value)}. "
            "Write for example [2, 8]"
        )
    return tuple(value)


Resources = Annotated[dict[str, float], BeforeValidator(_resources)]
"""Custom resources of Ray nodes -> how much of each a worker takes."""
Labels = Annotated[dict[str, str], BeforeValidator(_labels)]
"""Labels of Ray nodes -> the value that a worker's node must have."""


class Range(Section):
    """Holds the least and the most workers of a trial."""

    least: int
    most: int


def range_of(workers: int | tuple[int, int]) -> Range:
    """Returns the least and the most of ``workers_per_trial``."""
    least, most = workers if isinstance(workers, tuple) else (workers, workers)
    return Range(least=least, most=most)


Elastic = BeforeValidator(_workers)
"""Takes [least, most] for a number of workers."""
