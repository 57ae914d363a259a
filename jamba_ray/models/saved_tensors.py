"""Loads saved arrays as a model's tensors, where they are exactly what the model has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor


def tensors_like(
    expected: Mapping[str, Tensor], saved: Mapping[str, npt.NDArray[Any]], prefix: str
) -> dict[str, Tensor]:
    """Returns the arrays named ``prefix`` + a name in ``expected``, on the devices of ``expected``.

    torch itself would convert another type and spread another shape without a word.

    Raises:
        ValueError: A name is missing or unknown, or a type or a shape is another one.
    """
    found = {
        name.removeprefix(prefix): torch.tensor(array)
        for name, array in saved.items()
        if name.startswith(prefix)
    }
    if missing := sorted(expected.keys() ^ found.keys()):
        raise ValueError(
            f"{len(missing)} tensors are missing or unknown, such as `{prefix}{missing[0]}`"
        )
    for name, tensor in found.items():
        here, there = _kind(tensor), _kind(expected[name])
        if here != there:
            raise ValueError(f"`{prefix}{name}` must be {there}, but is {here}")
    return {name: tensor.to(expected[name].device) for name, tensor in found.items()}


def _kind(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"
