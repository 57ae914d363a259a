"""Which training row comes when: a pure function of (seed, epoch), the same on every device.

The permutation of an epoch sorts the rows by a hash of (seed, epoch, row), so it needs no state of
a generator (a resumed trial continues exactly), and is computed where the data lie, for K members
at once.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

_MASK64 = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15
_MIX_A = 0xBF58476D1CE4E5B9
_MIX_B = 0x94D049BB133111EB


def mix(*words: int) -> int:
    """Hash integers into 63 bits (SplitMix64, Steele et al. 2014, word by word)."""
    state = 0
    for word in words:
        state = (state + _GOLDEN + word) & _MASK64
        state = ((state ^ (state >> 30)) * _MIX_A) & _MASK64
        state = ((state ^ (state >> 27)) * _MIX_B) & _MASK64
        state ^= state >> 31
    return state >> 1


def permutation(seeds: Sequence[int], epoch: int, n_rows: int, device: str = "cpu") -> Tensor:
    """The row order of each member in one epoch: int32 [K, n_rows]."""
    start = torch.tensor([mix(seed, epoch) for seed in seeds], dtype=torch.int64, device=device)
    rows = torch.arange(n_rows, dtype=torch.int64, device=device)
    keys = _scramble(start[:, None] + rows * _signed(_GOLDEN))
    # Stable: two equal keys (chance n^2 / 2^64) keep row order on every device.
    return torch.argsort(keys, dim=1, stable=True).to(torch.int32)


class Order:
    """Row indices of any stretch of K members' row streams."""

    def __init__(self, seeds: Sequence[int], n_rows: int, device: str) -> None:
        self._seeds = list(seeds)
        self._n_rows = n_rows
        self._device = device
        self._epochs: dict[int, Tensor] = {}

    def rows(self, first: int, last: int) -> Tensor:
        """Rows ``first`` .. ``last`` - 1 of the streams: int32 [K, last - first]."""
        pieces = []
        while first < last:
            epoch, offset = divmod(first, self._n_rows)
            end = min(last, (epoch + 1) * self._n_rows)
            pieces.append(self._epoch(epoch)[:, offset : offset + end - first])
            first = end
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces, dim=1)

    def keep(self, members: Sequence[int]) -> None:
        """Drop all members but these."""
        self._seeds = [self._seeds[k] for k in members]
        self._epochs = {epoch: order[list(members)] for epoch, order in self._epochs.items()}

    def _epoch(self, epoch: int) -> Tensor:
        if epoch not in self._epochs:
            # A batch may touch two epochs, never an older one.
            self._epochs = {e: o for e, o in self._epochs.items() if e >= epoch - 1}
            self._epochs[epoch] = permutation(self._seeds, epoch, self._n_rows, self._device)
        return self._epochs[epoch]


def _scramble(state: Tensor) -> Tensor:
    """SplitMix64's finaliser on int64 (multiplication wraps; ``>>`` is made logical by a mask)."""
    state = (state ^ _shift(state, 30)) * _signed(_MIX_A)
    state = (state ^ _shift(state, 27)) * _signed(_MIX_B)
    return state ^ _shift(state, 31)


def _shift(state: Tensor, bits: int) -> Tensor:
    return (state >> bits) & ((1 << (64 - bits)) - 1)


def _signed(word: int) -> int:
    return word - (1 << 64) if word >> 63 else word
