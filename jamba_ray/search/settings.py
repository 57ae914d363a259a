"""What a study needs to know of its sweep."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from jamba_ray.config.budget import Limit
from jamba_ray.config.search import PrunerSection, SamplerSection
from jamba_ray.config.space import Params, SearchSpace


@dataclass(frozen=True)
class StudySettings:
    """The part of a sweep's configuration that its study acts on."""

    space: SearchSpace
    objective: str
    direction: Literal["maximize", "minimize"]
    sampler: SamplerSection = field(default_factory=SamplerSection)
    pruner: PrunerSection = field(default_factory=PrunerSection)
    seed: int = 0
    n_trials: int = 16
    report_rows: int = 1
    """Rows between two reports: what turns ``pruner.min_rows`` into report steps."""
    limit: Limit | None = None
    max_failed_trials: int | None = None
    lanes: int = 1
    stack: int = 1
    """Trials that a lane may train at a time."""
    config_fingerprint: str = ""
    data_fingerprint: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)
    """Dotted path -> value of everything in ``config_fingerprint``, to say what changed."""
    data: Mapping[str, Any] = field(default_factory=dict)
    """What the rows look like, to say what changed."""
    allow_config_change: bool = False
    allow_data_change: bool = False
    hang_timeout_s: float | None = None
    """A trial whose lane died after so long without a report is said to have hung."""
    patience_s: float = 60.0
    """A disk that refuses is tried again for so long."""
    first: tuple[Params, ...] = ()
    """Tried first, when the study is new."""
