"""Decides whether two samples of a column are drawn alike, exactly, whatever their sizes and ties.

Both samples are counted in bins that depend on all their values together. If nothing has changed,
which rows are of which sample is a matter of chance, so that the counts of one of them are a draw
without replacement from all (multivariate hypergeometric): the null is known exactly for the size
of this window, and no limit such as "PSI > 0.2" is needed, whose chance of a false alarm depends on
the number of rows. Two statistics are looked at, Anderson & Darling's (1954; Scholz & Stephens
1987), which sees a shift of ordered values, and the likelihood ratio G, which sees any; the smaller
p-value counts, and its own null is taken from the same draws (Westfall & Young 1993).

Rows that come in bursts are alike and say less than as many drawn by chance. How much blocks of
neighbours of the *reference* differ beyond chance says how far the number of rows is to be divided
(the design effect of Kish 1965): so a burst in the window itself, which is what is looked for, does
not hide itself.

Letters: N rows of the window, M of the reference, K bins, R draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Blocks = Sequence[tuple[Ints, int]]
"""Of the reference, the block [M] of neighbours that each row is of, and the rows of the table that
a block has; for several lengths."""

N_BINS = 32
DRAWS, MOST_DRAWS = 500, 20_000
FEWEST_ROWS = 20
"""Rows of a sample below which nothing is tested."""


@dataclass(frozen=True)
class Compared:
    """Says how the window differs from the reference."""

    p: float
    """The chance of so large a difference where nothing has changed."""
    distance: float
    """The largest difference of the distribution functions (of names: of shares, halved), 0 to
    1."""
    psi: float
    psi_by_chance: float
    """What PSI stays below in 95 % of unchanged windows of this size."""
    rows: int
    effective: float
    """As many rows drawn by chance would say as much."""


def numeric_bins(window: Floats, reference: Floats, n_bins: int = N_BINS) -> tuple[Ints, Ints, int]:
    """Returns the bins [N] and [M] of ordered values, and their number."""
    both = np.concatenate([window, reference])
    levels = np.linspace(0.0, 1.0, n_bins + 1)[1:-1]
    edges = np.unique(np.quantile(both, levels, method="inverted_cdf"))
    return (
        np.searchsorted(edges, window, side="left").astype(np.int64),
        np.searchsorted(edges, reference, side="left").astype(np.int64),
        len(edges) + 1,
    )


def code_bins(window: Ints, reference: Ints, n_bins: int = N_BINS) -> tuple[Ints, Ints, int]:
    """Returns the bins [N] and [M] of codes: the most frequent ones, and one for the others."""
    codes, counts = np.unique(np.concatenate([window, reference]), return_counts=True)
    kept = np.sort(codes[np.argsort(-counts, kind="stable")][: n_bins - 1])
    found = []
    for one in (window, reference):
        at = np.clip(np.searchsorted(kept, one), 0, len(kept) - 1)
        found.append(np.where(kept[at] == one, at, len(kept)).astype(np.int64))
    return found[0], found[1], len(kept) + 1


def design_effect(bins: Ints, blocks: Blocks, n: int, *, ordered: bool) -> float:
    """Returns how many times more windows of ``n`` neighbours differ than rows drawn by chance
    would, at least 1, by how blocks of neighbours of the reference differ.

    ``bins`` [M] are of the reference. The correlation of rows of a block is that of a one-way
    analysis of variance, of ranks and of their distance from the middle, or of each frequent name;
    what may be chance (F test, 5 %) counts as none. Long blocks make it as large as short ones or
    larger, so that the largest of all lengths up to ``n`` counts.
    """
    if not blocks or len(bins) == 0:
        return 1.0
    if ordered:
        counts = np.bincount(bins)
        rank = ((np.cumsum(counts) - counts / 2.0) / len(bins))[bins]
        looked_at = [rank, np.abs(rank - 0.5)]
    else:
        frequent = np.argsort(-np.bincount(bins), kind="stable")[:5]
        looked_at = [(bins == one).astype(np.float64) for one in frequent]
    level = 0.05 / len(looked_at) / len(blocks)
    return max(
        1.0 + (min(length, n) - 1) * _within(one, block, level)
        for one in looked_at
        for block, length in blocks
    )


def _within(values: Floats, blocks: Ints, level: float) -> float:
    """Returns the correlation of values [M] of the same block; 0 where chance may make it."""
    from scipy.stats import f as f_distribution  # type: ignore[import-untyped]

    _, at, size = np.unique(blocks, return_inverse=True, return_counts=True)
    n_blocks, m = len(size), len(values)
    if n_blocks < 4 or m <= 2 * n_blocks:
        return 0.0
    means = np.bincount(at, values) / size
    between = float((size * (means - values.mean()) ** 2).sum()) / (n_blocks - 1)
    inside = float(((values - means[at]) ** 2).sum()) / (m - n_blocks)
    if (
        inside <= 0.0
        or float(f_distribution.sf(between / inside, n_blocks - 1, m - n_blocks)) > level
    ):
        return 0.0
    typical = (m - float((size**2).sum()) / m) / (n_blocks - 1)
    return max(0.0, (between - inside) / (between + (typical - 1.0) * inside))


def compare_bins(
    window: Ints,
    reference: Ints,
    n_bins: int,
    *,
    ordered: bool,
    blocks: Blocks = (),
    seed: int = 0,
    needed: float = 0.05,
) -> Compared:
    """Compares the bins of a window [N] with those of the reference [M].

    ``blocks``: the neighbours that the rows of the reference are of; empty: they come in no order.
    ``needed``: the p-value that decides; more draws
    are made where so many cannot tell.
    """
    counts = np.bincount(window, minlength=n_bins)
    others = np.bincount(reference, minlength=n_bins)
    used = (counts + others) > 0
    counts, others = counts[used], others[used]
    n, m = len(window), len(reference)
    # Of bursts the statistic is that of fewer rows; its shares are those of all rows.
    effect = design_effect(reference, blocks, n, ordered=ordered)
    effective = max(n / effect, 1.0)
    size = max(1, round(effective))
    if len(counts) < 2:
        return Compared(1.0, 0.0, 0.0, 0.0, n, effective)
    pool = counts + others
    scaled = others if effect == 1.0 else _scaled(pool, size, m)
    total = _Statistics(scaled + (counts if effect == 1.0 else 0), size, ordered)
    seen = total.of((counts / n)[None, :])
    rng = np.random.default_rng(seed)
    drawn = total.draws(rng, DRAWS)
    p = _p(seen[:, 0], drawn)
    while needed / 4.0 < p <= 10.0 / drawn.shape[1] and drawn.shape[1] < MOST_DRAWS:
        more = min(3 * drawn.shape[1], MOST_DRAWS - drawn.shape[1])
        drawn = np.concatenate([drawn, total.draws(rng, more)], axis=1)
        p = _p(seen[:, 0], drawn)
    share, base = counts / n, others / m
    by_chance = [_psi(a, b, n, m) for a, b in zip(*total.sides(rng, 200), strict=True)]
    return Compared(
        p,
        _distance(share, base, ordered=ordered),
        _psi(share, base, n, m),
        float(np.quantile(by_chance, 0.95)),
        n,
        effective,
    )


def _scaled(pool: Ints, size: int, m: int) -> Ints:
    """Returns a pool of ``size + m`` rows with the shares of ``pool``."""
    found = np.floor(pool * ((size + m) / pool.sum())).astype(np.int64)
    lacking = size + m - int(found.sum())
    found[np.argsort(found - pool * ((size + m) / pool.sum()))[:lacking]] += 1
    return np.asarray(found, dtype=np.int64)


class _Statistics:
    """Holds all rows by bin [K], of which ``size`` are the window's."""

    def __init__(self, pool: Ints, size: int, ordered: bool) -> None:
        self._pool, self._size = pool, size
        total = float(pool.sum())
        self._share = pool / total
        cumulated = np.cumsum(self._share)[:-1]
        self._weight = self._share[:-1] / (cumulated * (1.0 - cumulated))
        self._cumulated = cumulated
        self._ordered = ordered and len(pool) > 2
        self._left = total - size

    def shares(self, rng: np.random.Generator, n: int) -> Floats:
        """Draws windows: the share of each bin, [n, K]."""
        found = rng.multivariate_hypergeometric(self._pool, self._size, size=n, method="marginals")
        return np.asarray(found / self._size, dtype=np.float64)

    def draws(self, rng: np.random.Generator, n: int) -> Floats:
        """Returns the statistics [S, n] of windows drawn by chance."""
        return self.of(self.shares(rng, n))

    def sides(self, rng: np.random.Generator, n: int) -> tuple[Floats, Floats]:
        """Draws windows: the share of each bin there and among the other rows, [n, K] both."""
        shares = self.shares(rng, n)
        return shares, (self._pool - shares * self._size) / self._left

    def of(self, shares: Floats) -> Floats:
        """Returns the statistics [S, n] of windows with these shares [n, K]."""
        others = (self._share * (self._size + self._left) - shares * self._size) / self._left
        others = np.maximum(others, 0.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            g = sum(
                weight * np.where(of > 0.0, of * np.log(of / self._share), 0.0).sum(axis=1)
                for of, weight in ((shares, self._size), (others, self._left))
            )
        found = [np.asarray(g)]
        if self._ordered:
            away = np.cumsum(shares, axis=1)[:, :-1] - self._cumulated
            found.append((away**2 * self._weight).sum(axis=1))
        return np.stack(found)


def _p(seen: Floats, drawn: Floats) -> float:
    """Returns the p-value of the statistics [S], each of which is ranked among its draws [S, R]."""
    both = np.concatenate([seen[:, None], drawn], axis=1)
    # A statistic that the rounding of a sum moved is the same one.
    both = np.round(both, 9)
    n = both.shape[1]
    ranks = np.stack([n - np.searchsorted(np.sort(one), one, side="left") for one in both])
    least = ranks.min(axis=0)
    return float((least <= least[0]).sum() / n)


def _distance(share: Floats, base: Floats, *, ordered: bool) -> float:
    if ordered:
        return float(np.abs(np.cumsum(share) - np.cumsum(base)).max())
    return float(np.abs(share - base).sum() / 2.0)


def _psi(share: Floats, base: Floats, n: int, m: int) -> float:
    """Returns the population stability index; an empty bin counts as half a row."""
    a, b = np.maximum(share, 0.5 / n), np.maximum(base, 0.5 / m)
    return float(((a - b) * np.log(a / b)).sum())


def share_p(k: int, n: int, of: int, m: int) -> float:
    """Returns the two-sided p-value that ``k`` of ``n`` and ``of`` of ``m`` are one share (exact:
    Fisher 1935)."""
    from scipy.stats import fisher_exact

    return float(fisher_exact([[k, n - k], [of, m - of]])[1])


def discoveries(p: Sequence[float], alpha: float) -> list[bool]:
    """Says which of several tests are found, so that at most the share ``alpha`` of what is found
    is by chance (Benjamini & Hochberg 1995; also where columns depend on each other positively).

    Where nothing has changed, anything is found with the chance ``alpha`` at most.
    """
    order = np.argsort(np.asarray(p), kind="stable")
    found = [False] * len(p)
    limit = 0
    for rank, at in enumerate(order, 1):
        if p[int(at)] <= alpha * rank / len(p):
            limit = rank
    for at in order[:limit]:
        found[int(at)] = True
    return found


def only(values: npt.NDArray[Any], where: npt.NDArray[np.bool_] | None) -> npt.NDArray[Any]:
    """Returns the values where the mask holds; all without a mask."""
    return values if where is None else values[where]
