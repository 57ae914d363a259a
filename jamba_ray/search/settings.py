"""What a study needs to know of its sweep."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

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
    time_budget_s: float | None = None
    max_failed_trials: int | None = None
    lanes: int = 1
    config_fingerprint: str = ""
    data_fingerprint: str = ""
    first: tuple[Params, ...] = ()
    """Tried first, when the study is new."""
