"""Defines ``ensemble``: whether a sweep's winner may be a team of its trials."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, model_validator

from jamba_ray.config.section import Section


class EnsembleSection(Section):
    """Lets several trials be the winner together, where that is surely better on validation rows.

    ``ensemble=false`` and ``ensemble=true`` set ``ensemble.enabled``.
    """

    enabled: bool = True
    """Whether a team may be the winner."""
    max_members: Annotated[int, Field(ge=2, le=64)] = 8
    """Most trials in a team."""
    max_latency_ms: Annotated[float, Field(gt=0.0)] | None = None
    """Most milliseconds for one row, the sum over the team's members as measured on the machine
    that runs the sweep; None: no limit."""
    candidates: Annotated[int, Field(ge=2, le=1000)] = 10
    """Trials among which the team is sought: the best so many on validation rows, and the best two
    of each model family. Their checkpoints are kept."""

    distil: bool = False
    """Train one network on the team's scores and take it in the team's place, where it is at least
    as good on validation rows as the best trial alone; the summary says what that costs."""

    @model_validator(mode="before")
    @classmethod
    def _takes_a_truth_value(cls, value: Any) -> Any:
        return {"enabled": value} if isinstance(value, bool) else value
