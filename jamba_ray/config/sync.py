"""What ``python -m jamba_ray.sync`` is told."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from jamba_ray.config.names import LocalPath
from jamba_ray.config.section import Section


class SyncConfig(Section):
    """``python -m jamba_ray.sync``."""

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
