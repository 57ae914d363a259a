"""Measures on the device how many trials of one structure make a stack that saves time, and chooses
by a pure function.

Letters: K stacked trials.
"""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from jamba_ray.config.family import stacks
from jamba_ray.config.run import TrialConfig
from jamba_ray.config.training_length import length_of
from jamba_ray.data.prepared import PreparedData, of_both_classes
from jamba_ray.training import compiled
from jamba_ray.training.fit import fit
from jamba_ray.training.member import Decision, Member, Report
from jamba_ray.training.precision import format_on

PAYS = 1.05
"""A larger stack must train so many times the rows per second of the best smaller one."""
GAINS = 1.25
"""A stack must train so many times the rows per second of trials alone: less is not worth the few
percent of reports that it costs (``tests/benchmarks/stack_quality.md``)."""
FULL = 0.8
"""Share of a GPU's memory beyond which no larger stack is tried."""
_STEPS = {"cpu": 1, "cuda": 10}
"""Optimizer steps that are timed together: on a GPU they are queued."""
_TIMED_S = 0.03
_FEWEST, _MOST = 4, 24
"""Times that are taken at least and at most; the first is for allocators and caches."""
_VAL_ROWS = 128


@dataclass(frozen=True)
class Measurement:
    """Holds the measurement of one stack."""

    size: int
    """K."""
    rows_per_s: float
    """Rows of all members per second of forward, backward and optimizer."""
    memory_share: float = 0.0
    """Share of the GPU's memory in use at the peak; 0 on a CPU."""


def pays_to_look_on(measured: Sequence[Measurement], most: int, gpus: float = 1.0) -> bool:
    """Says whether twice the last size is to be probed, on a share ``gpus`` of a GPU."""
    last = measured[-1]
    if 2 * last.size > most or 2 * last.memory_share > FULL * gpus:
        return False
    if len(measured) < 3:
        return True
    # Two sizes in a row that bring nothing end it: a stack of two alone often brings nothing.
    best = max(m.rows_per_s for m in measured[:-2])
    return max(m.rows_per_s for m in measured[-2:]) > PAYS * best


def share_mistake(memory_share: float, gpus: float) -> str | None:
    """Returns why trials cannot have the share ``gpus`` of a GPU, one of which was measured to need
    ``memory_share`` of its memory; None: they can."""
    if not 0.0 < gpus < memory_share:
        return None
    fitting = math.floor(FULL / memory_share)
    least = math.ceil(100 / fitting) / 100 if fitting else 1.0
    return (
        f"`gpus_per_trial` must be at least {least:g} here, but is {gpus:g}: "
        f"one trial was measured to need {memory_share:.0%} of the GPU's memory. Raise it, lower "
        "`max_concurrent`, or lower `training.batch_size`"
    )


def choose_k(measured: Sequence[Measurement]) -> int:
    """Chooses the smallest size that no larger one beats by more than 5 % in rows per second.

    It is 1 where no stack gains enough. The first measurement is of one trial.
    """
    enough = GAINS * measured[0].rows_per_s
    paying = [m for m in measured if m.size == 1 or m.rows_per_s >= enough]
    best = max(m.rows_per_s for m in paying)
    return min(m.size for m in paying if PAYS * m.rows_per_s >= best)


def if_compiled(config: TrialConfig, size: int, device: str) -> tuple[int, int] | None:
    """Returns (trials at a time, steps that repay it) of a compiled stack.

    None: stacks of this ``size`` do not pay, or are not compiled whatever the steps.
    """
    if size == 1:
        return None
    device_type = torch.device(device).type
    few = min(size, compiled.AT_A_TIME)
    choice = compiled.decide(
        config.compile,
        device_type=device_type,
        number_format=format_on(device, config.precision).name,
        size=few,
        n_steps=sys.maxsize,
        has_compiler=compiled.has_compiler(device_type),
        in_parts=config.training.accumulate > 1,
    )
    if not choice.on:
        return None
    return few, 0 if config.compile is True else compiled.WORTH_STEPS


def probe(
    config: TrialConfig, data: PreparedData, device: str, most: int, gpus: float = 1.0
) -> tuple[Measurement, ...]:
    """Measures stacks of 1, 2, 4 ... up to ``most`` trials of this structure, a few steps each.

    Nothing is measured that cannot stack, or whose trials are over before it is known.
    """
    if most == 1 or not stacks(config.model.name):
        return ()
    length = length_of(config.training, len(data.train))
    batch = min(length.batch_size, len(data.train))
    together = _STEPS[torch.device(device).type] * batch
    probed = _MOST * together
    if length.epochs * len(data.train) < 4 * probed:
        return ()
    training = config.training.model_copy(
        update={
            "epochs": probed / len(data.train),
            "batch_size": length.batch_size,
            "report_rows": together,
            "patience": 0,
            "schedule": "cosine",
        }
    )
    # A probe must report, but its scores mean nothing.
    val = data.val.take(of_both_classes(data.val.y > 0, _VAL_ROWS))
    few = replace(data, val=val, tests={})
    one = config.model_copy(update={"training": training})
    measured = [_measure(one, few, device, 1)]
    while pays_to_look_on(measured, most, gpus):
        measured.append(_measure(one, few, device, 2 * measured[-1].size))
    if len(measured) > 1:
        # All are held against the first, which was timed while other runners started.
        again = _measure(one, few, device, 1)
        measured[0] = max(measured[0], again, key=lambda m: m.rows_per_s)
    return tuple(measured)


def _measure(config: TrialConfig, data: PreparedData, device: str, size: int) -> Measurement:
    members = [
        Member(k, config.model_copy(update={"seed": (config.seed + k) % 2**31}))
        for k in range(size)
    ]
    ends_s: list[float] = []

    def report(reports: Sequence[Report]) -> list[Decision]:
        ends_s.append(sum(r.goodput_s for r in reports))
        enough = len(ends_s) >= _FEWEST and ends_s[-1] >= _TIMED_S
        return ["prune" if enough else "continue"] * len(reports)

    is_cuda = torch.device(device).type == "cuda"
    if is_cuda:
        torch.cuda.reset_peak_memory_stats(device)
    fit(members, data, report, device=device)
    share = 0.0
    if is_cuda:
        _, total = torch.cuda.mem_get_info(device)
        share = torch.cuda.max_memory_allocated(device) / total
    # The least of the times, as neighbours on the machine only ever add to them.
    step_s = min(b - a for a, b in itertools.pairwise(ends_s))
    rows = size * (config.training.report_rows or 0)
    return Measurement(size, rows / max(1e-9, step_s), share)
