"""What ``python -m jamba_ray.dashboard`` is told."""

from __future__ import annotations

from jamba_ray.config.names import LocalPath
from jamba_ray.config.section import Section


class DashboardConfig(Section):
    """``python -m jamba_ray.dashboard``."""

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
