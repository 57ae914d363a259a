"""Defines ``cluster``: what a sweep does with the cluster that it runs on."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from jamba_ray.config.section import Section


class ClusterSection(Section):
    """Ends a cluster of ``ray up`` that nobody uses."""

    down_after: Annotated[float, Field(ge=1.0, le=10_080.0)] | None = None
    """Minutes without a job after which the head ends the cluster, however the sweep ended (a
    budget, an error, a kill): machines of AWS and Google Cloud are deleted, the head last; of your
    own machines Ray alone is ended. None: never."""
