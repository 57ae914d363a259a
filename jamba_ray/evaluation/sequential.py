"""Checks what a threshold promises on labels that arrive over time, valid whenever it is looked at.

An ordinary test that is repeated each day refuses a true promise sooner or later. A betting test
does not (Ville 1939; Waudby-Smith & Ramdas 2024): a gambler stakes a part of what he has on each
labelled row being wrong more often than promised, at odds that are fair if the promise just holds.
Then he multiplies his stake by 1 / alpha, ever, with the chance alpha at most. So the test may be
read after every row, and refuses a false promise in the end. Several stakes are held side by side.

Rows that were drawn with unequal chances count with one over that chance (``ask``): a row that was
not drawn leaves the stake as it is, so the bet is fair for every row of the window.

``rate_interval`` is an interval of a rate that holds at all times at once, by a mixture of
likelihood ratios (Robbins 1970).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq  # type: ignore[import-untyped]
from scipy.special import betaln  # type: ignore[import-untyped]

from jamba_ray.evaluation.bootstrap import Interval

STAKES = (0.01, 0.03, 0.1, 0.2, 0.4, 0.7)
"""Shares of the largest stake that cannot lose everything."""


@dataclass(frozen=True)
class Wager:
    """Holds what is staked against "at most ``limit`` of the rows are wrong"."""

    limit: float
    log_wealth: tuple[float, ...] = field(default=(0.0,) * len(STAKES))
    rows: int = 0
    wrong: int = 0

    def after(
        self,
        wrong: npt.NDArray[np.bool_],
        chance: npt.NDArray[np.float64] | float = 1.0,
        least: float | None = None,
    ) -> Wager:
        """Returns the wager after labelled rows of the class [N].

        ``wrong``: which were judged wrongly; ``chance``: with which each was drawn; ``least``: the
        least chance that any row had, known before a label was.
        """
        if not len(wrong) or not 0.0 < self.limit < 1.0:
            return self
        chances = np.broadcast_to(np.asarray(chance, dtype=np.float64), wrong.shape)
        worth = (wrong - self.limit) / chances
        most = min(float(chances.min()), 1.0 if least is None else least) / self.limit
        grown = [float(np.log1p(share * most * worth).sum()) for share in STAKES]
        return Wager(
            self.limit,
            tuple(a + b for a, b in zip(self.log_wealth, grown, strict=True)),
            self.rows + len(wrong),
            self.wrong + int(wrong.sum()),
        )

    @property
    def log_evidence(self) -> float:
        """Returns the logarithm of what one stake has become: above log(1 / alpha) the promise is
        refused at the level alpha."""
        return float(np.logaddexp.reduce(self.log_wealth) - math.log(len(self.log_wealth)))

    def refutes(self, alpha: float) -> bool:
        """Says whether the labels refuse the promise."""
        return self.log_evidence >= -math.log(alpha)

    def to_json(self) -> dict[str, Any]:
        """Returns strict JSON."""
        return {
            "limit": self.limit,
            "log_wealth": list(self.log_wealth),
            "rows": self.rows,
            "wrong": self.wrong,
            "log_evidence": self.log_evidence,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Wager:
        """Makes a wager from what ``to_json`` returned; raises ValueError where it is none."""
        try:
            wealth = tuple(float(one) for one in value["log_wealth"])
            found = cls(float(value["limit"]), wealth, int(value["rows"]), int(value["wrong"]))
        except (KeyError, TypeError) as error:
            raise ValueError("a wager needs `limit`, `log_wealth`, `rows` and `wrong`") from error
        if len(wealth) != len(STAKES) or not all(map(math.isfinite, wealth)):
            raise ValueError(f"a wager has {len(STAKES)} stakes")
        return found


def rate_interval(wrong: int, rows: int, alpha: float = 0.05) -> Interval | None:
    """Returns the rate ``wrong`` of ``rows`` with an interval that holds at every number of rows at
    once with the chance 1 - ``alpha``; None without rows."""
    if rows <= 0:
        return None
    value = wrong / rows
    mixed = float(betaln(wrong + 0.5, rows - wrong + 0.5) - betaln(0.5, 0.5))
    limit = math.log(1.0 / alpha)

    def over(rate: float) -> float:
        likely = wrong * math.log(rate) if wrong else 0.0
        likely += (rows - wrong) * math.log1p(-rate) if wrong < rows else 0.0
        return mixed - likely - limit

    tiny = 1e-12
    low = 0.0 if wrong == 0 or over(tiny) < 0.0 else float(brentq(over, tiny, max(value, tiny)))
    high = 1.0
    if wrong < rows and over(1.0 - tiny) > 0.0:
        high = float(brentq(over, min(max(value, tiny), 1.0 - tiny), 1.0 - tiny))
    return Interval(value=value, low=low, high=high)
