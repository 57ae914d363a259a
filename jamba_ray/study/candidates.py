"""Chooses the trials among which a team is sought."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

PER_FAMILY = 2
"""Trials of each model family that are candidates however well other families do: a team gains
from members that err on different rows."""


def candidates(ranking: Iterable[tuple[int, str]], most: int) -> list[int]:
    """Returns the candidates among trials (number, model family), which come the best first."""
    chosen: list[int] = []
    seen: Counter[str] = Counter()
    for place, (number, family) in enumerate(ranking):
        if place < most or seen[family] < PER_FAMILY:
            chosen.append(number)
        seen[family] += 1
    return chosen
