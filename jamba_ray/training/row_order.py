"""Decides which training row comes when: a pure function of (seed, epoch), the same on every
device.

The permutation of an epoch sorts the rows by a hash of (seed, epoch, row), so it needs no state of
a generator (a resumed trial continues exactly), and is computed where the data lie, for K members
at once.

Where a member's batches have a share of threats of its own, its stream takes turns between a stream
of the threats and one of the benign rows, each with epochs of its own: again a function of the
position alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

_MASK64 = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15
_MIX_A = 0xBF58476D1CE4E5B9
_MIX_B = 0x94D049BB133111EB


def mix(*words: int) -> int:
    """Computes a hash of integers in 63 bits (SplitMix64, Steele et al. 2014, word by word)."""
    state = 0
    for word in words:
        state = (state + _GOLDEN + word) & _MASK64
        state = ((state ^ (state >> 30)) * _MIX_A) & _MASK64
        state = ((state ^ (state >> 27)) * _MIX_B) & _MASK64
        state ^= state >> 31
    return state >> 1


def permutation(seeds: Sequence[int], epoch: int, n_rows: int, device: str = "cpu") -> Tensor:
    """Computes the row order of each member in one epoch: int32 [K, n_rows]."""
    start = torch.tensor([mix(seed, epoch) for seed in seeds], dtype=torch.int64, device=device)
    rows = torch.arange(n_rows, dtype=torch.int64, device=device)
    keys = _scramble(start[:, None] + rows * _signed(_GOLDEN))
    # Stable: two equal keys (chance n^2 / 2^64) keep row order on every device.
    return torch.argsort(keys, dim=1, stable=True).to(torch.int32)


class Order:
    """Returns row indices of any stretch of K members' row streams."""

    def __init__(
        self,
        seeds: Sequence[int],
        n_rows: int,
        device: str,
        index_device: str | None = None,
        shares: Sequence[float | None] = (),
        y: npt.NDArray[np.float32] | None = None,
    ) -> None:
        """Makes permutations on ``device``; they are kept, and indexed, on ``index_device``.

        ``shares`` [K]: of threats (labels ``y`` [N]) in each stretch; None: each row once an epoch.
        """
        self._seeds = list(seeds)
        self._mixed = [
            None if share is None or y is None else Mixed(seed, share, y, device, index_device)
            for seed, share in zip(seeds, shares or [None] * len(seeds), strict=True)
        ]
        self._n_rows = n_rows
        self._device, self._index_device = device, index_device or device
        self._epochs: list[dict[int, Tensor]] = [{} for _ in seeds]
        """Per member its epochs under way: epoch -> int32 [n_rows]."""

    def rows(self, first: Sequence[int], n: int) -> Tensor:
        """Returns ``n`` rows of each member's stream, from ``first`` [K] on: int32 [K, n]."""
        for epoch in range(min(first) // self._n_rows, (max(first) + n - 1) // self._n_rows + 1):
            touching = [k for k, row in enumerate(first) if self._touches(row, n, epoch)]
            self._make(epoch, [k for k in touching if self._mixed[k] is None])
        stretches = [
            self._stretch(k, row, row + n) if (mixed := self._mixed[k]) is None else mixed(row, n)
            for k, row in enumerate(first)
        ]
        for k, row in enumerate(first):
            over = row // self._n_rows
            self._epochs[k] = {e: order for e, order in self._epochs[k].items() if e >= over}
        return stretches[0][None] if len(stretches) == 1 else torch.stack(stretches)

    def keep(self, members: Sequence[int]) -> None:
        """Drops all members but these."""
        self._seeds = [self._seeds[k] for k in members]
        self._mixed = [self._mixed[k] for k in members]
        self._epochs = [self._epochs[k] for k in members]

    def append(self, other: Order) -> None:
        """Appends the members of ``other`` to those there are."""
        self._seeds += other._seeds
        self._mixed += other._mixed
        self._epochs += other._epochs

    def _touches(self, first: int, n: int, epoch: int) -> bool:
        return first < (epoch + 1) * self._n_rows and first + n > epoch * self._n_rows

    def _make(self, epoch: int, members: Sequence[int]) -> None:
        """Makes the permutation of ``epoch`` for those of ``members`` that have come to it, all
        at once."""
        missing = [k for k in members if epoch not in self._epochs[k]]
        if not missing:
            return
        seeds = [self._seeds[k] for k in missing]
        orders = permutation(seeds, epoch, self._n_rows, self._device).to(self._index_device)
        for k, order in zip(missing, orders, strict=True):
            self._epochs[k][epoch] = order

    def _stretch(self, k: int, first: int, last: int) -> Tensor:
        pieces = []
        while first < last:
            epoch, offset = divmod(first, self._n_rows)
            end = min(last, (epoch + 1) * self._n_rows)
            pieces.append(self._epochs[k][epoch][offset : offset + end - first])
            first = end
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces)


class Mixed:
    """Returns row indices of any stretch of a stream with a given share of threats."""

    _ONE = 1 << 20

    def __init__(
        self,
        seed: int,
        share: float,
        y: npt.NDArray[np.float32],
        device: str,
        index_device: str | None,
    ) -> None:
        self._share = round(share * self._ONE)
        self._device = index_device or device
        self._rows, self._orders = [], []
        for label in (0, 1):
            rows = np.flatnonzero((y == 1.0) == bool(label)).astype(np.int32)
            if not len(rows):
                raise ValueError("a share of threats needs rows of both labels")
            self._rows.append(torch.from_numpy(rows).to(self._device))
            own = [mix(seed, 1 + label) % 2**31]
            self._orders.append(Order(own, len(rows), device, index_device))

    def __call__(self, first: int, n: int) -> Tensor:
        """Returns ``n`` rows from ``first`` on: int32 [n]."""
        at = torch.arange(first, first + n + 1, dtype=torch.int64, device=self._device)
        threats = (at * self._share) // self._ONE
        is_threat = threats[1:] > threats[:-1]
        before = first * self._share // self._ONE
        found = torch.empty(n, dtype=torch.int32, device=self._device)
        for label, begin in ((0, first - before), (1, before)):
            places = is_threat if label else ~is_threat
            if some := int(places.sum()):
                (order,) = self._orders[label].rows([begin], some)
                found[places] = self._rows[label][order.long()]
        return found


def _scramble(state: Tensor) -> Tensor:
    """Applies SplitMix64's finaliser to int64 (multiplication wraps; a mask makes ``>>``
    logical)."""
    state = (state ^ _shift(state, 30)) * _signed(_MIX_A)
    state = (state ^ _shift(state, 27)) * _signed(_MIX_B)
    return state ^ _shift(state, 31)


def _shift(state: Tensor, bits: int) -> Tensor:
    return (state >> bits) & ((1 << (64 - bits)) - 1)


def _signed(word: int) -> int:
    return word - (1 << 64) if word >> 63 else word
