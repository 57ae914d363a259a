"""Defines the settings of ``report``."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from jamba_ray.config.names import LocalPath, Plugins
from jamba_ray.config.search import Objective
from jamba_ray.config.section import Section
from jamba_ray.config.store_uri import checked_endpoint, parse_store


class ReportSection(Section):
    """Says what the report of a run is like."""

    interactive: bool | None = None
    """Give the report a script of its own that sorts and filters the trials, zooms into figures and
    keeps the trials of a range of a parameter. None: as the run was started; false there."""


class ReportConfig(Section):
    """Configures ``report``: one of ``run``, ``runs`` and ``top_n``."""

    run: LocalPath | None = None
    """A run's name, its folder, or its URI in a bucket."""
    runs: list[LocalPath] = Field(default_factory=list)
    """Runs to compare, by name, folder or URI."""
    top_n: Annotated[int, Field(ge=1)] | None = None
    """Compare the best so many runs of the store."""
    metric: Objective | Literal["accuracy", "ece", "brier"] = "average_precision"
    """The validation metric that ranks runs for ``top_n``."""
    report: ReportSection = ReportSection()
    plugins: Plugins = ()
    """Modules that the model needs: [mypkg.threats]."""
    store: LocalPath = "runs"
    """Folder that holds the run folders, or a bucket: s3://bucket/prefix, gs://..."""
    store_endpoint: str | None = None
    """Address of an S3 store that is not Amazon's; None: AWS_ENDPOINT_URL, else Amazon's."""

    @field_validator("store_endpoint")
    @classmethod
    def _endpoint_is_plain(cls, value: str | None) -> str | None:
        return None if value is None else checked_endpoint(value)

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

    @model_validator(mode="after")
    def _places_are_known(self) -> ReportConfig:
        for name in [*([self.run] if self.run else []), *self.runs]:
            parse_store(name)
            parse_store(self.store if "://" in name else f"{self.store}/{name}")
        if self.top_n is not None and "://" in self.store:
            raise ValueError(
                f"`store` must be a folder for `top_n`, but is {self.store!r}. Name the runs: "
                "`runs=[a,b]`"
            )
        return self
