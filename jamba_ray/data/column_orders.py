"""Draws the orders of columns in which Shapley values are sampled."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np


def orders(c: int, pairs: int) -> Iterator[Sequence[int]]:
    """Yields orders of ``c`` columns, the same for every row and call.

    There are ``pairs`` of an order and its reverse, or all where there are no more.
    """
    if c <= 8 and math.factorial(c) <= 2 * pairs:
        yield from itertools.permutations(range(c))
        return
    rng = np.random.default_rng(0)
    for _ in range(pairs):
        order = rng.permutation(c).tolist()
        yield order
        # An order and its reverse: what depends on the first half of columns cancels partly.
        yield order[::-1]
