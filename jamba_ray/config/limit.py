"""Parses ``constraint``: limits such as ``model_size_mb < 5`` that a model must keep."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from jamba_ray.config.names import nearest
from jamba_ray.config.plugins import METRICS
from jamba_ray.config.search import MEASURES

_FORM = re.compile(r"\s*([A-Za-z][\w.-]*)\s*(<=|>=|<|>)\s*([-+]?[\d.]+(?:[eE][-+]?\d+)?)\s*")


@dataclass(frozen=True)
class Limit:
    """Holds one limit of a measure."""

    measure: str
    sign: str
    """``<``, ``<=``, ``>`` or ``>=``."""
    bound: float

    def __str__(self) -> str:
        return f"{self.measure} {self.sign} {self.bound:g}"

    def violation(self, value: float) -> float:
        """Returns by how much ``value`` breaks the limit; zero or less: it keeps it."""
        over = value - self.bound if self.sign.startswith("<") else self.bound - value
        # A value on a bound that it may not reach breaks the limit by the least amount.
        return over if self.sign.endswith("=") or over != 0.0 else math.ulp(1.0)


def parsed(text: str) -> Limit:
    """Returns the limit that ``text`` says.

    Raises:
        ValueError: With a sentence that says what is wrong.
    """
    found = _FORM.fullmatch(text)
    if found is None:
        raise ValueError(
            "`constraint` must be a measure, one of < <= > >= and a number, such as "
            f"'model_size_mb < 5', but is {text!r}"
        )
    measure, sign, number = found.groups()
    known = [*MEASURES, *METRICS]
    if measure not in known:
        raise ValueError(
            f"`constraint` must limit one of {', '.join(known)}, but is {text!r}"
            f"{nearest(measure, known)}"
        )
    try:
        bound = float(number)
    except ValueError:
        bound = math.nan
    if not math.isfinite(bound):
        raise ValueError(f"`constraint` must have a finite number, but is {text!r}")
    return Limit(measure, sign, bound)
