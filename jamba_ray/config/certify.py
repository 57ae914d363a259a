"""Defines ``certify``: whether the best trials are trained again with further seeds."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, model_validator

from jamba_ray.config.section import Section


class CertifySection(Section):
    """Trains the best configurations again with further seeds, until a test separates them.

    ``certify=false`` and ``certify=true`` set ``certify.enabled``.
    """

    enabled: bool = True
    """Whether the summary says which configuration is surely better."""
    top: Annotated[int, Field(ge=2, le=10)] = 2
    """The best so many configurations on validation rows, beside the baseline."""
    seeds: Annotated[int, Field(ge=3, le=64)] = 4
    """Most further seeds of each. What trains alike with every seed needs none."""
    max_share: Annotated[float, Field(ge=0.0, le=1000.0)] = 0.1
    """Most time for it, as a share of the search's; 3: three times as long as the search."""
    margin: Annotated[float, Field(gt=0.0)] = 0.005
    """Difference of the objective that does not matter: of two configurations that surely differ by
    less, the cheaper one is the winner."""

    @model_validator(mode="before")
    @classmethod
    def _takes_a_truth_value(cls, value: Any) -> Any:
        return {"enabled": value} if isinstance(value, bool) else value
