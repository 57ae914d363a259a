"""Defines ``tracking``: who receives the results of a run while it runs; the study and the local
rows are the truth."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from jamba_ray.config.names import LocalPath
from jamba_ray.config.section import Section

_PROJECT = re.compile(r"[A-Za-z0-9._-]{1,128}")


class TrackingSection(Section):
    """Chooses trackers: ``tracking=local``, ``tracking=wandb`` or ``tracking=none``.

    No key is ever a setting: W&B's client finds it in ``WANDB_API_KEY`` or in ``~/.netrc``, where
    ``wandb login`` puts it.
    """

    name: Literal["local", "wandb", "none"] = "local"
    """``local``: every report as a line of JSON in the run folder; ``wandb``: that, and a follower
    that sends it to Weights & Biases; ``none``: the study alone."""
    mode: Literal["offline", "online"] = "offline"
    """``wandb`` only. ``offline`` writes runs that `jamba-ray sync` or `wandb sync` sends
    later and needs no network; ``online`` sends them as they come."""
    project: str = "jamba_ray"
    """W&B project."""
    entity: str | None = None
    """W&B user or team; None: the default one of the key."""
    tensorboard: bool = False
    """Also write TensorBoard event files, a folder a trial, into ``<run folder>/tensorboard``."""
    close_s: Annotated[float, Field(gt=0.0, le=3600.0)] = 60.0
    """Seconds after its end that a run waits for its follower; an interrupted one waits at most 3.
    What is not sent by then `jamba-ray sync run=<run>` sends."""

    @field_validator("project")
    @classmethod
    def _project_is_a_name(cls, value: str) -> str:
        if not _PROJECT.fullmatch(value):
            raise ValueError(
                "`tracking.project` must be 1-128 letters, digits, '.', '_' or '-', but is "
                f"{value!r}. Choose a plain name such as 'threats'"
            )
        return value

    @model_validator(mode="after")
    def _tensorboard_has_rows(self) -> TrackingSection:
        if self.tensorboard and self.name == "none":
            raise ValueError(
                "`tracking.tensorboard` must be false with `tracking=none`, which writes no rows, "
                "but is true. Drop `tracking=none`"
            )
        return self


class SyncConfig(Section):
    """Configures ``sync``."""

    run: LocalPath
    """A run's name, or its folder."""
    store: LocalPath = "runs"
    """Folder that holds the run folders."""
    project: str | None = None
    """W&B project; None: that of the run's ``tracking``."""
    entity: str | None = None
    """W&B user or team; None: that of the run's ``tracking``, else the default one of the key."""
    timeout_s: Annotated[float, Field(gt=0.0)] = 3600.0
    """Seconds after which to stop; what was sent by then stays sent."""


class DashboardConfig(Section):
    """Configures ``dashboard``."""

    run: LocalPath
    """A run's name, or its folder."""
    store: LocalPath = "runs"
    """Folder that holds the run folders."""
    publish: bool = False
    """Save the dashboards in W&B; otherwise they are only written to ``dashboard.json``."""
    project: str | None = None
    """W&B project; None: that of the run's ``tracking``."""
    entity: str | None = None
    """W&B user or team; None: that of the run's ``tracking``."""
