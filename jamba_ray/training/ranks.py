"""Trains one member data-parallel: what R processes ("ranks") do together.

Every rank holds all weights and takes a contiguous share of every batch. Gradients and losses of a
step travel as one flat row, summed over ranks (``sum_``), where each rank's loss is already divided
by the rows of the *global* batch: the sum is the exact mean, also where shares are unequal. This in
place of torch's DistributedDataParallel, because our parameters are one flat row anyway (there are
no buckets to fill), DDP averages per-rank means (wrong for unequal shares), and its hooks do not
see ``torch.autograd.grad``. What it does better, sending while the backward pass still runs, pays
for models of many millions of weights.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")


class RankLostError(BaseException):
    """Says that another rank is lost: no trial is at fault, and this process cannot continue.

    No ``Exception``, so that code which survives a trial's faults does not survive this one.
    """


@dataclass
class Pulse:
    """Records signs of life of one rank, for a watchdog in another thread."""

    last: float
    """When the last step or chunk ended (``time.monotonic``)."""
    longest: float = 0.0
    """Seconds between two beats, the most so far."""
    waiting: bool = False
    """Whether it waits for others; a rank that does not beat and does not wait hangs by itself."""

    def beat(self) -> None:
        """Records that a step or a chunk of validation is done."""
        now = time.monotonic()
        self.longest, self.last = max(self.longest, now - self.last), now


class Ranks(Protocol):
    """Defines who takes part in training."""

    rank: int
    """From 0; rank 0 reports and saves."""
    size: int
    pulse: Pulse

    def sum_(self, tensor: Tensor) -> None:
        """Replaces ``tensor`` by its sum over ranks, bit-equal on all of them."""
        ...

    def agree(self, value: T) -> T:
        """Returns rank 0's ``value`` (strict JSON) on all ranks."""
        ...


class Alone:
    """Runs one process that has nobody to exchange with."""

    rank, size = 0, 1

    def __init__(self) -> None:
        self.pulse = Pulse(time.monotonic())

    def sum_(self, tensor: Tensor) -> None:
        """Leaves the tensor as it is: it is its own sum."""

    def agree(self, value: T) -> T:
        """Returns the value as it is."""
        return value


ALONE = Alone()


class TorchRanks:
    """Exchanges tensors in torch's default process group (gloo on CPUs, NCCL on GPUs)."""

    def __init__(self, device: str) -> None:
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        self.pulse = Pulse(time.monotonic())
        self._device = device

    def sum_(self, tensor: Tensor) -> None:
        """Sums with one all-reduce.

        Raises:
            RankLostError: Another rank is gone.
        """
        self._wait(lambda: dist.all_reduce(tensor))

    def agree(self, value: T) -> T:
        """Sends the length and then the value, with two broadcasts.

        Raises:
            RankLostError: Another rank is gone.
        """
        text = json.dumps(value, allow_nan=False).encode() if self.rank == 0 else b""
        length = torch.tensor([len(text)], dtype=torch.int64, device=self._device)
        self._wait(lambda: dist.broadcast(length, src=0))
        content = torch.zeros(int(length), dtype=torch.uint8, device=self._device)
        if self.rank == 0:
            content.copy_(torch.frombuffer(bytearray(text), dtype=torch.uint8))
        self._wait(lambda: dist.broadcast(content, src=0))
        agreed: T = json.loads(bytes(content.cpu().tolist()))
        return agreed

    def _wait(self, collective: Callable[[], Any]) -> None:
        self.pulse.waiting = True
        try:
            collective()
        except (RuntimeError, ValueError) as error:
            # A ValueError says that the process group was ended under us: Ray Train does that to
            # the ranks that still live before it ends them.
            raise RankLostError(str(error)) from error
        self.pulse.waiting = False


def share(n_rows: int, rank: int, size: int) -> tuple[int, int]:
    """Returns the half-open range of rows that part ``rank`` of ``size`` takes.

    Sizes differ by one at most, and the ranges of all parts make up all rows, each once.
    """
    return n_rows * rank // size, n_rows * (rank + 1) // size


def pieces(n_rows: int, ranks: Ranks, n_pieces: int) -> list[tuple[int, int]]:
    """Returns the ranges of a batch that this rank runs one after the other (gradient
    accumulation)."""
    first, last = share(n_rows, ranks.rank, ranks.size)
    cuts = [share(last - first, piece, n_pieces) for piece in range(n_pieces)]
    return [(first + a, first + b) for a, b in cuts]
