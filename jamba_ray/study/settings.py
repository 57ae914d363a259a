"""Defines what a study needs to know of its sweep, and derives it from the configuration."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from jamba_ray.config import limit
from jamba_ray.config.budget import Limit, limit_of
from jamba_ray.config.direction import Direction, Directions, direction_of
from jamba_ray.config.family import stacks
from jamba_ray.config.fingerprint import fingerprint, fingerprinted
from jamba_ray.config.params import flatten
from jamba_ray.config.placement import range_of
from jamba_ray.config.plugin_modules import Plugin, shipment
from jamba_ray.config.run import SweepConfig, TrialConfig
from jamba_ray.config.search import PrunerSection, SamplerSection
from jamba_ray.config.space import SearchSpace, values
from jamba_ray.config.training_length import length_of, settled, usual_rows
from jamba_ray.study.first_trials import FirstTrials, first_trials
from jamba_ray.study.stacks import most_at_a_time

if TYPE_CHECKING:
    # The study's server has no rows, and need not import pandas and scipy for half a second.
    from jamba_ray.data.prepared import PreparedData

N_REPORTS = 16
"""Reports of a trial of the base configuration's ``epochs``, where ``report_rows`` is not given."""
_BATCHES_A_REPORT = 8
"""Reports of fewer batches are not rounded to whole ones."""


@dataclass(frozen=True)
class StudySettings:
    """Holds the part of a sweep's configuration that its study needs."""

    space: SearchSpace
    objective: str
    direction: Direction
    further: tuple[str, ...] = ()
    """The objectives after the first."""
    limits: tuple[limit.Limit, ...] = ()
    """What ``constraint`` says."""
    sampler: SamplerSection = field(default_factory=SamplerSection)
    pruner: PrunerSection = field(default_factory=PrunerSection)
    seed: int = 0
    n_trials: int = 16
    terminate: float | None = None
    """The least gain of the objective for which the sweep goes on; None: whatever the gain."""
    report_rows: int = 1
    """Rows between two reports: what turns ``pruner.min_rows`` into report steps."""
    folds: int = 0
    """Models that a trial trains with cross-validation; 0: there is none."""
    n_reports: int = N_REPORTS
    """Reports of a trial that is never stopped."""
    limit: Limit | None = None
    max_failed_trials: int | None = None
    runners: int = 1
    stack: int = 1
    """Trials that a runner may train at a time."""
    begin_with: int | None = None
    """See ``stacks.at_a_time_now``."""
    config_fingerprint: str = ""
    data_fingerprint: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)
    """Dotted path -> value of everything in ``config_fingerprint``, to say what changed."""
    data: Mapping[str, Any] = field(default_factory=dict)
    """What the rows look like, to say what changed."""
    allow_config_change: bool = False
    allow_data_change: bool = False
    hang_timeout_s: float | None = None
    """A trial whose runner died after this many seconds without a report counts as hung."""
    patience_s: float = 60.0
    """Seconds for which a failed write to disk is retried."""
    first: FirstTrials = field(default_factory=FirstTrials)
    """The first trials of a new study."""
    warm: Sequence[Mapping[str, Any]] = ()
    """What a new study takes of earlier ones, as ``study.warm_start`` stores it."""
    plugins: tuple[Plugin, ...] = field(default_factory=shipment)
    """What the study's process imports before it opens the study."""

    @property
    def directions(self) -> Directions:
        """Returns the directions of all objectives."""
        return (self.direction, *map(direction_of, self.further))


def stack_size(config: SweepConfig, space: SearchSpace, runners: int) -> int:
    """Returns how many trials a runner may train at a time.

    Tree models and trials of several processes train alone.
    """
    names = next((values(p.leaf) for p in space.parameters if p.path == "model.name"), None)
    may_stack = any(stacks(str(name)) for name in names or [config.model.name])
    stackable = range_of(config.workers_per_trial).most == 1 and may_stack
    return most_at_a_time(config.trials_per_runner, config.n_trials, runners, stackable=stackable)


def begin_with(config: SweepConfig, device: str) -> int | None:
    """Returns how many trials a sweep first trains at a time; None: ``trials_per_runner``."""
    if config.trials_per_runner != "auto":
        return None
    return 1 if device == "cpu" else config.sampler.n_startup_trials


def study_settings(
    config: SweepConfig,
    space: SearchSpace,
    data: PreparedData,
    *,
    runners: int,
) -> StudySettings:
    """Returns the settings of a sweep's study.

    Raises:
        ConfigError: See ``first_trials``.
    """
    n_train = len(data.searched.train)
    every = report_rows(config.trial(), n_train)
    return StudySettings(
        space=space,
        objective=config.objective,
        direction=direction_of(config.objective),
        further=config.further,
        limits=config.limits,
        sampler=config.sampler,
        pruner=config.pruner,
        seed=config.seed,
        n_trials=config.n_trials,
        terminate=config.terminate,
        folds=config.cv.models,
        report_rows=every,
        n_reports=max(1, math.ceil(usual_rows(config.training, n_train) / every)),
        limit=limit_of(config.budget),
        max_failed_trials=config.max_failed_trials,
        runners=runners,
        config_fingerprint=fingerprint(config),
        data_fingerprint=data.fingerprint,
        config=flatten(fingerprinted(config)),
        data=_data_in_words(data),
        allow_config_change=config.allow_config_change,
        allow_data_change=config.allow_data_change,
        hang_timeout_s=config.hang_timeout_s,
        patience_s=config.store_patience_s,
        first=first_trials(config, space),
    )


def _data_in_words(data: PreparedData) -> dict[str, Any]:
    """Returns a description of the data that a user can compare where the rows differ."""
    schema = data.schema
    return {
        "data: training rows": len(data.train),
        "data: validation rows": len(data.val),
        "data: features": ", ".join([*schema.numeric, *schema.categorical]),
        "data: content": data.fingerprint,
        **({"data: folds": [f.fingerprint for f in data.folds]} if data.folds else {}),
    }


def report_rows(base: TrialConfig, n_train: int) -> int:
    """Returns the rows between reports, the same for all trials so that rungs are comparable.

    Whole batches, where that makes little difference: trials that joined a stack late would
    otherwise report one batch before or after the others, and judge and wait for each other twice.
    """
    length = length_of(base.training, n_train)
    if length.report_rows is not None:
        return length.report_rows
    every = max(1, math.ceil(length.epochs * n_train / N_REPORTS))
    batch = length.batch_size
    return every if every < _BATCHES_A_REPORT * batch else math.ceil(every / batch) * batch


def base_config(config: SweepConfig, n_train: int) -> TrialConfig:
    """Returns the configuration that all trials share, with its length in numbers."""
    base = config.trial()
    training = settled(base.training, n_train).model_copy(
        update={"report_rows": report_rows(base, n_train)}
    )
    return base.model_copy(update={"training": training})
