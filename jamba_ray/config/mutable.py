"""Defines ``data.mutable``: which columns an attacker controls, and how far."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from jamba_ray.config.section import Section


class MutableColumn(Section):
    """Says how an attacker may change the values of one numeric column."""

    direction: Literal["both", "up", "down"] = "both"
    """Whether values may be raised, lowered or both (bytes sent can be padded, never taken away:
    ``up``)."""
    integer: bool | None = None
    """Whether changed values are whole numbers; None: where those of training are."""
    budget: Annotated[float, Field(gt=0.0)] = 1.0
    """The largest change, in units of the column's spread among training rows (half the distance
    between its 16th and 84th percentile)."""
    low: float | None = None
    """The least value that a change may give; None: the least of training."""
    high: float | None = None
    """The largest value that a change may give; None: the largest of training."""

    @model_validator(mode="after")
    def _has_room(self) -> MutableColumn:
        if self.low is not None and self.high is not None and self.low >= self.high:
            raise ValueError(
                f"`low` must be below `high` ({self.high:g}), but is {self.low:g}. Exchange them"
            )
        return self


def _by_column(value: Any) -> Any:
    if value is None:
        return {}
    if isinstance(value, str):
        value = [value]
    if isinstance(value, list | tuple):
        if any(not isinstance(name, str) for name in value):
            raise ValueError(
                f"must be a list of columns, such as [bytes_out, duration], but is {value!r}. For "
                "limits of each write {bytes_out: {direction: up, budget: 2}}"
            )
        return {name.strip(): {} for name in value}
    if isinstance(value, Mapping):
        return {str(name).strip(): {} if one is None else one for name, one in value.items()}
    return value


Mutable = Annotated[dict[str, MutableColumn], BeforeValidator(_by_column)]
"""Columns that an attacker controls: a list of names, or a mapping from names to limits."""
