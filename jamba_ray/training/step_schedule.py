"""Computes the numbers that change from batch to batch, for one report interval, and moves them to
the device once.

Letters: K stacked trials, S batches of the interval.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from jamba_ray.config.run import TrialConfig
from jamba_ray.models.dropout import step_key
from jamba_ray.training.schedule import Timetable


@dataclass(frozen=True)
class Interval:
    """Holds numbers per batch and member: sequences of S tensors, because indexing a tensor
    costs more."""

    lr: tuple[Tensor, ...]
    """float32 [K, 1] each."""
    decay: tuple[Tensor, ...]
    """Learning rate x weight decay, float32 [K, 1] each."""
    keys: tuple[Tensor, ...]
    """Step keys of dropout, int32 [K] each."""
    clip: Tensor
    """float32 [K, 1]."""


def interval(
    configs: Sequence[TrialConfig],
    first: Sequence[int],
    n: int,
    table: Timetable,
    device: str,
    cooling_from: Sequence[int | None] | None = None,
) -> Interval:
    """Computes the numbers of ``n`` batches, from each member's own batch ``first`` [K] on."""
    cooling_from = cooling_from or [None] * len(first)
    training = [config.training for config in configs]
    lr = torch.tensor(
        [
            [
                s.learning_rate * table.lr_factor(at + i, s.warmup, cooling)
                for s, at, cooling in zip(training, first, cooling_from, strict=True)
            ]
            for i in range(n)
        ],
        dtype=torch.float64,
    ).unsqueeze(-1)
    decay = lr * torch.tensor([s.weight_decay for s in training], dtype=torch.float64)[:, None]
    keys = torch.tensor(
        [
            [step_key(c.seed, at + i) for c, at in zip(configs, first, strict=True)]
            for i in range(n)
        ],
        dtype=torch.int32,
    )
    clip = torch.tensor([s.grad_clip for s in training], dtype=torch.float32)[:, None]
    return Interval(
        lr=lr.float().to(device).unbind(0),
        decay=decay.float().to(device).unbind(0),
        keys=keys.to(device).unbind(0),
        clip=clip.to(device),
    )
