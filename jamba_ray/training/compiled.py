"""Compiles the forward and backward pass with ``torch.compile``, where that saves time.

What it brings depends on the model. On one core of an AMD EPYC (Zen 4, torch 2.13, 2026-11-21), ms
a step and member, eager / compiled: ``mlp`` hidden 32, batch 32, a stack of 16, fp32: 0.47 / 0.17;
``mlp`` hidden 256, batch 256, alone, fp32: 7.9 / 5.4; ``attention`` hidden 32, batch 512, alone,
fp32: 34 / 30; the same in bf16: 36 / 24. Compiling takes 10 to 18 s, and under 2 s where the disk
cache of an earlier run has the structure; trials of one structure share it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from jamba_ray.config.training import Compile

WORTH_STEPS = 4000
"""Fewer steps are over before compiling has paid for itself."""
WORTH_STEPS_ALONE = 60_000
"""The same for one model in fp32: a small ``mlp`` gains 0.6 of 2.4 ms a step, and two runners that
compile at once on two cores take up to 30 s."""
AT_A_TIME = 4
"""Members of a stack that is compiled: more bring little (a small ``mlp``, rows/s of 1 / 2 / 4 / 8
/ 16 at a time: 87,000 / 110,000 / 110,000 / 122,000 / 120,000 compiled, 51,000 / 36,000 / 59,000 /
70,000 / 76,000 eager; one Zen 3 core, 2026-11-26), and few at a time suit a search."""
SHAPES = 64
"""Shapes, stack sizes and formats that one process keeps compiled."""


@dataclass(frozen=True)
class Compiling:
    """Says whether to compile, and why."""

    on: bool
    reason: str


def decide(
    setting: Compile,
    *,
    device_type: str,
    number_format: str,
    size: int,
    n_steps: int,
    has_compiler: bool,
    in_parts: bool,
) -> Compiling:
    """Decides from what is known before the first batch, so that a resumed trial decides as before.

    Args:
        setting: ``compile`` of the configuration.
        device_type: 'cpu' or 'cuda'.
        number_format: 'fp32', 'bf16' or 'fp16'.
        size: Members of the stack.
        n_steps: Steps of the whole trial, or of all trials of its structure that are to come.
        has_compiler: Whether there is what ``torch.compile`` needs to generate code.
        in_parts: Whether batches are cut into parts (ranks, accumulation): masks then depend on
            where a part begins, and each part would be compiled by itself.
    """
    if setting is False:
        return Compiling(False, "`compile=false` was asked for")
    if in_parts:
        return Compiling(False, "batches are cut into parts")
    if not has_compiler:
        return Compiling(False, "no C++ compiler was found")
    if setting is True:
        return Compiling(True, "`compile=true` was asked for")
    if device_type != "cpu":
        return Compiling(False, f"its gain has not been measured on {device_type}")
    worth = WORTH_STEPS_ALONE if size == 1 and number_format == "fp32" else WORTH_STEPS
    if n_steps < worth:
        return Compiling(False, f"{n_steps:,} steps are too few to repay it")
    return Compiling(True, f"{n_steps:,} steps repay it")


def has_compiler(device_type: str) -> bool:
    """Says whether code can be generated: by a C++ compiler on a CPU, by Triton on a GPU."""
    if device_type != "cpu":
        return True
    return any(shutil.which(c) for c in (os.environ.get("CXX", ""), "g++", "clang++") if c)


def compiled(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Returns ``function`` compiled for the exact tensor shapes that it is called with, on the
    first call."""
    # The default of 8 would silently leave the ninth structure of a sweep uncompiled.
    if hasattr(torch.compiler.config, "recompile_limit"):  # not in every torch since 2.8
        torch.compiler.config.recompile_limit = SHAPES
    wrapped: Callable[..., Tensor] = torch.compile(function, dynamic=False)
    return wrapped
