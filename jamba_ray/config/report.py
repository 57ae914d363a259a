"""What ``python -m jamba_ray.report`` is told."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from jamba_ray.config.search import Objective
from jamba_ray.config.section import Section


class ReportConfig(Section):
    """``python -m jamba_ray.report``: one of ``run``, ``runs`` and ``top_n``."""

    run: str | None = None
    """A run's name, or its folder."""
    runs: list[str] = Field(default_factory=list)
    """Runs to compare, by name or folder."""
    top_n: Annotated[int, Field(ge=1)] | None = None
    """Compare the best so many runs of the store."""
    metric: Objective | Literal["accuracy", "ece"] = "average_precision"
    """The validation metric that ranks runs for ``top_n``."""
    store: str = "runs"
    """Folder that holds the run folders."""

    @model_validator(mode="before")
    @classmethod
    def _one_question(cls, value: Any) -> Any:
        if isinstance(value, dict):
            asked = [k for k in ("run", "runs", "top_n") if value.get(k)]
            if len(asked) != 1:
                raise ValueError(
                    "one of `run`, `runs` and `top_n` must be given, but "
                    f"{', '.join(asked) or 'none'} is. Say `run=<run>`, `runs=[a,b]` or `top_n=5`"
                )
        return value
