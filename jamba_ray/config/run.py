"""Defines the configuration of each command: one frozen object, composed once on the driver."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SerializeAsAny,
    ValidationError,
    field_validator,
    model_validator,
)

import jamba_ray.config.model  # noqa: F401  (registers the families that ship with jamba_ray)
from jamba_ray.config import limit
from jamba_ray.config.budget import BudgetSection
from jamba_ray.config.certify import CertifySection
from jamba_ray.config.cluster import ClusterSection
from jamba_ray.config.cv import CvSection, check_folds
from jamba_ray.config.data import DataSection, SyntheticSection, TableSection
from jamba_ray.config.ensemble import EnsembleSection
from jamba_ray.config.family import FAMILIES, ModelSection, discover, trains_alone
from jamba_ray.config.mistakes import NestedMistakes
from jamba_ray.config.names import (
    LocalPath,
    Plugins,
    as_list,
    nearest,
    run_name,
)
from jamba_ray.config.placement import Elastic, Labels, Resources, range_of
from jamba_ray.config.report import ReportSection
from jamba_ray.config.search import (
    COSTS,
    Further,
    Objective,
    PrunerSection,
    SamplerSection,
    check_several,
    split_objectives,
)
from jamba_ray.config.section import NOT_IN_FINGERPRINT, Section, as_if_absent
from jamba_ray.config.store_uri import checked_endpoint, parse_store
from jamba_ray.config.tracking import TrackingSection
from jamba_ray.config.training import Compile, Precision, TrainingSection

# Their files import neither torch nor NumPy before they train.
discover("jamba_ray.estimators")

DATA_SECTIONS: dict[str, type[DataSection]] = {
    "synthetic": SyntheticSection,
    "table": TableSection,
}


def _by_name(what: str, value: Any, known: Mapping[str, type[Section]]) -> Any:
    """Validates a mapping by the class its ``name`` picks; the list of classes is open."""
    if not isinstance(value, dict):
        return value
    name = str(value.get("name"))
    if name not in known:
        raise ValueError(
            f"`{what}.name` must be one of {', '.join(sorted(known))}, but is {name!r}"
            f"{nearest(name, known)}"
        )
    try:
        return known[name].model_validate(value)
    except ValidationError as error:
        raise NestedMistakes(error, known[name]) from None


RunName = Annotated[str, AfterValidator(run_name)]
"""A name that becomes a folder."""
AnyData = Annotated[
    SerializeAsAny[DataSection],
    BeforeValidator(lambda value: _by_name("data", value, DATA_SECTIONS)),
]
"""The data section that its ``name`` picks."""


class TrialConfig(Section):
    """Holds all that decides one trial's result, given the data: what a runner and a checkpoint
    get."""

    model: SerializeAsAny[ModelSection]
    training: TrainingSection = TrainingSection()
    precision: Precision = "auto"
    """``auto``: the fastest that is safe on the device (bf16 on a GPU that has it, else fp32)."""
    compile: Compile = "auto"
    """Generate code for the training step (``torch.compile``), which takes 10 to 18 s per
    structure. ``auto``: on a CPU, where the trials of a structure are enough to repay it."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = Field(
        default=0, json_schema_extra={"stackable": True}
    )
    """Seed of weights, data order and dropout; trial n of a sweep uses seed + n."""
    objective: Objective = "average_precision"
    """Validation metric that decides: best step of a trial, best trial of a sweep. A sweep may have
    several, [average_precision, latency_ms]: the first decides the step."""
    further: tuple[Further, ...] = Field(default=(), json_schema_extra=as_if_absent([]))
    """The objectives after the first; ``objective=[a, b]`` sets them."""
    plugins: Plugins = Field(default=(), json_schema_extra=as_if_absent([]))
    """Modules of your own to import, such as [mypkg.threats]: they register model families,
    metrics, losses, samplers and callbacks (``jamba_ray.plugins``)."""

    @model_validator(mode="before")
    @classmethod
    def _takes_several_objectives(cls, tree: Any) -> Any:
        return split_objectives(tree)

    @property
    def objectives(self) -> tuple[str, ...]:
        """Returns all objectives, the one that decides first."""
        return (self.objective, *self.further)

    @field_validator("model", mode="before")
    @classmethod
    def _model_by_name(cls, value: Any) -> Any:
        return _by_name("model", value, FAMILIES)


class ExperimentConfig(TrialConfig):
    """Defines what ``train`` and ``sweep`` share."""

    data: AnyData
    rival: bool = True
    """Train the ``rivals`` at all."""
    rivals: tuple[str, ...] = Field(
        default=("lightgbm",), json_schema_extra=as_if_absent(["lightgbm"])
    )
    """Model families that the winner is held against, each with its defaults on the same rows, such
    as [lightgbm,random_forest]."""
    tracking: TrackingSection = Field(
        default=TrackingSection(), json_schema_extra=NOT_IN_FINGERPRINT
    )
    report: ReportSection = Field(default=ReportSection(), json_schema_extra=NOT_IN_FINGERPRINT)
    store: LocalPath = Field(default="runs", json_schema_extra=NOT_IN_FINGERPRINT)
    """Folder that holds the run folders, or a bucket: s3://bucket/prefix, gs://..."""
    store_endpoint: str | None = Field(default=None, json_schema_extra=NOT_IN_FINGERPRINT)
    """Address of an S3 store that is not Amazon's; None: AWS_ENDPOINT_URL, else Amazon's."""
    run: RunName | None = Field(default=None, json_schema_extra=NOT_IN_FINGERPRINT)
    """Name of the run folder; None: made from name and time."""
    resume: bool = Field(default=False, json_schema_extra=NOT_IN_FINGERPRINT)
    """Continue the run of this name from what is stored; where there is none, start it."""
    overwrite: bool = Field(default=False, json_schema_extra=NOT_IN_FINGERPRINT)
    """Replace the run of this name."""
    dry_run: bool = Field(default=False, json_schema_extra=NOT_IN_FINGERPRINT)
    """Print what would happen and start nothing."""
    verbose: bool = Field(default=False, json_schema_extra=NOT_IN_FINGERPRINT)
    """Let Ray and the libraries print what they like."""

    @model_validator(mode="after")
    def _robustness_has_columns(self) -> ExperimentConfig:
        if "robustness" in self.objectives and not self.data.mutable:
            raise ValueError(
                "`objective` 'robustness' needs the columns that an attacker controls. Name them, "
                "such as `data.mutable=[bytes_out,duration]`"
            )
        return self

    @field_validator("store")
    @classmethod
    def _store_is_known(cls, value: str) -> str:
        return str(parse_store(value))

    @field_validator("rivals")
    @classmethod
    def _rivals_are_known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if name not in FAMILIES:
                raise ValueError(
                    f"`rivals` must be among {', '.join(sorted(FAMILIES))}, but one is {name!r}"
                    f"{nearest(name, FAMILIES)}"
                )
        return tuple(dict.fromkeys(value))

    @field_validator("store_endpoint")
    @classmethod
    def _endpoint_is_plain(cls, value: str | None) -> str | None:
        return None if value is None else checked_endpoint(value)

    @property
    def held_against(self) -> tuple[str, ...]:
        """Returns the families that are trained with their defaults beside the winner."""
        return self.rivals if self.rival else ()

    def trial(self) -> TrialConfig:
        """Returns the part that a runner needs."""
        return TrialConfig(
            model=self.model,
            training=self.training,
            precision=self.precision,
            compile=self.compile,
            seed=self.seed,
            objective=self.objective,
            further=self.further,
            plugins=self.plugins,
        )


class TrainConfig(ExperimentConfig):
    """Configures ``train``."""

    workers: Annotated[int, Field(ge=1, le=4096)] = Field(
        default=1, json_schema_extra=NOT_IN_FINGERPRINT
    )
    """Processes that share each batch (data-parallel, by Ray Train), one GPU or CPU each; the
    result is that of one process. 1: this process, without Ray."""

    @model_validator(mode="after")
    def _one_objective(self) -> TrainConfig:
        if self.further:
            raise ValueError(
                "`objective` must be one metric for `train`, but is several: only `sweep` can "
                f"choose between trials. Write `objective={self.objective}`"
            )
        return self

    @model_validator(mode="after")
    def _trees_have_one_worker(self) -> TrainConfig:
        if self.workers > 1 and trains_alone(self.model.name):
            raise ValueError(
                f"`workers` must be 1 for `model.name={self.model.name}`, but is {self.workers}: "
                "it trains in one process. Drop it"
            )
        return self


RENAMED = {"trials_per_lane": "trials_per_runner"}
"""Settings of a sweep that have another name now: the old one works for one more release."""


class RenamedSettingWarning(FutureWarning):
    """Warns of a setting that was given by a name that it no longer has."""


class SweepConfig(ExperimentConfig):
    """Configures ``sweep``."""

    sweep_name: RunName = Field(default="sweep", json_schema_extra=NOT_IN_FINGERPRINT)
    """Name of the sweep: the run folder's name begins with it."""
    search_space: dict[str, Any] = Field(default_factory=dict)
    """Shadow tree of the configuration (see ``jamba_ray.config.space``)."""
    n_trials: Annotated[int, Field(ge=1, le=100_000)] = Field(
        default=16, json_schema_extra=NOT_IN_FINGERPRINT
    )
    """Trials to run, counted over all sessions of the run."""
    terminate: Annotated[float, Field(gt=0.0)] | None = Field(
        default=None, json_schema_extra=NOT_IN_FINGERPRINT
    )
    """Begin no trial any more when 20 are complete and further ones would surely gain less than
    this of the objective (0.001), by the regret bound of Optuna's terminator. None: go on."""
    default_first: bool = Field(default=True, json_schema_extra=as_if_absent(False))
    """Trial 0 is the configuration as composed, trained to its end whatever the rungs say, so that
    the winner is at least as good as what ``train`` gives; where families are searched, each
    other family's defaults follow."""
    missing_families: Literal["refuse", "leave_out"] = Field(
        default="refuse", json_schema_extra=as_if_absent("refuse")
    )
    """What happens to families of the search space whose package is not installed."""
    enqueue: tuple[dict[str, Any], ...] = Field(default=(), json_schema_extra=as_if_absent([]))
    """Trials to begin with, such as [{training.learning_rate: 0.003}]; what one does not give is
    sampled. They are trained to their end like trial 0."""
    warm_start: Annotated[tuple[LocalPath, ...], BeforeValidator(as_list)] = Field(
        default=(), json_schema_extra=as_if_absent([])
    )
    """Earlier sweeps with this objective, by name or folder: the sampler is shown their trials in
    this search space, which count as none of this sweep's."""
    budget: BudgetSection = Field(default=BudgetSection(), json_schema_extra=NOT_IN_FINGERPRINT)
    """What the sweep may use; it then ends as ever, with what it found."""
    cluster: ClusterSection = Field(default=ClusterSection(), json_schema_extra=NOT_IN_FINGERPRINT)
    max_concurrent: Annotated[int, Field(ge=1)] | None = Field(
        default=None, json_schema_extra=NOT_IN_FINGERPRINT
    )
    """Runners at a time; None: one per GPU, or one per CPU core where there is none."""
    trials_per_runner: Annotated[int, Field(ge=1, le=1024)] | Literal["auto"] = Field(
        default="auto", json_schema_extra=NOT_IN_FINGERPRINT
    )
    """Trials of one structure that a runner trains at a time, as one batched model; ``auto``: as
    many as were measured to pay, and at most an eighth of the trials begun over all runners."""
    workers_per_trial: Annotated[
        Annotated[int, Field(ge=1, le=4096)] | tuple[int, int], Elastic
    ] = Field(default=1, json_schema_extra=NOT_IN_FINGERPRINT)
    """Processes that share each batch of a trial, one GPU or CPU each; see ``train``'s ``workers``.
    [2, 8]: as many as the cluster has room for when a trial begins or a machine was lost."""
    cpus_per_trial: Annotated[int, Field(ge=1, le=1024)] | None = Field(
        default=None, json_schema_extra=NOT_IN_FINGERPRINT
    )
    """CPUs of each runner (of each of its workers), and threads that it trains with; None: one, or
    more where CPUs are left over."""
    gpus_per_trial: Annotated[float, Field(ge=0.0, le=1.0)] | None = Field(
        default=None, json_schema_extra=NOT_IN_FINGERPRINT
    )
    """Share of a GPU of each runner: with 0.25 four share one, if a trial's memory was measured to
    fit. 0: none, also where there are GPUs. None: one, or what ``max_concurrent`` leaves."""
    resources: Resources = Field(default_factory=dict, json_schema_extra=NOT_IN_FINGERPRINT)
    """Custom resources of Ray nodes that each runner takes: {accelerator_type:H100: 0.01} puts it
    on nodes with such GPUs."""
    labels: Labels = Field(default_factory=dict, json_schema_extra=NOT_IN_FINGERPRINT)
    """Labels that the nodes of runners must have: {ray.io/market-type: spot}."""
    cv: CvSection = Field(
        default=CvSection(), json_schema_extra=as_if_absent(CvSection().model_dump(mode="json"))
    )
    """Whether trials are judged by cross-validation; the winner is then trained once more, on all
    training rows."""
    ensemble: EnsembleSection = Field(
        default=EnsembleSection(), json_schema_extra=NOT_IN_FINGERPRINT
    )
    """Whether the winner may be a team of trials; false: it is one trial."""
    certify: CertifySection = Field(default=CertifySection(), json_schema_extra=NOT_IN_FINGERPRINT)
    """Whether the best configurations are trained again with further seeds; false: they are not."""
    refit: bool = Field(default=False, json_schema_extra=NOT_IN_FINGERPRINT)
    """Train the winner again on the training rows and half of the validation rows, as long as
    validation chose. The other half stays unseen: thresholds and what they promise are of it."""
    constraint: Annotated[tuple[str, ...], BeforeValidator(as_list)] = Field(
        default=(), json_schema_extra=as_if_absent([])
    )
    """Limits that the winner must keep, such as "model_size_mb < 5" or [latency_ms < 2, ece < 0.1];
    trials that break one rank behind all that keep them."""
    pick: Annotated[float, Field(ge=0.0)] | Literal["knee"] = Field(
        default="knee", json_schema_extra=NOT_IN_FINGERPRINT
    )
    """Which trial of several objectives' front is the winner: the ``knee`` is nearest to the best
    of each, as shares of the front's ranges; 0.01: of those whose first objective is within 0.01 of
    the best, the one that is best in the second, and so on."""
    sampler: SamplerSection = SamplerSection()
    pruner: PrunerSection = PrunerSection()
    max_failed_trials: Annotated[int, Field(ge=1)] | None = Field(
        default=None, json_schema_extra=NOT_IN_FINGERPRINT
    )
    """Stop after so many failed trials; None: when more than half of the first 20 fail."""
    hang_timeout_s: Annotated[float, Field(gt=0.0)] | None = Field(
        default=1800.0, json_schema_extra=NOT_IN_FINGERPRINT
    )
    """A trial that reports nothing for so long is ended as failed; None: wait for ever."""
    store_patience_s: Annotated[float, Field(ge=0.0)] = Field(
        default=60.0, json_schema_extra=NOT_IN_FINGERPRINT
    )
    """A store that refuses is tried again for so long, with everything paused; then exit 74."""
    allow_config_change: bool = Field(default=False, json_schema_extra=NOT_IN_FINGERPRINT)
    """With ``resume``: go on although settings differ from those the run was begun with."""
    allow_data_change: bool = Field(default=False, json_schema_extra=NOT_IN_FINGERPRINT)
    """With ``resume``: go on although the rows differ from those the run was begun with."""
    keep_checkpoints: Annotated[int, Field(ge=1)] = Field(
        default=3, json_schema_extra=NOT_IN_FINGERPRINT
    )
    """Checkpoints of finished trials kept: the best so many, and with ``ensemble`` those of its
    candidates."""

    @field_validator("constraint")
    @classmethod
    def _limits_are_known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(str(limit.parsed(text)) for text in value)

    @model_validator(mode="after")
    def _several_objectives_have_their_samplers(self) -> SweepConfig:
        check_several(
            self.objective,
            self.further,
            self.sampler.name,
            self.pruner.name,
            terminates=self.terminate is not None,
        )
        return self

    @model_validator(mode="after")
    def _folds_can_be_trained(self) -> SweepConfig:
        data, workers = self.data, range_of(self.workers_per_trial).most
        kind, rows_in = data.split.kind, data.rows_in
        check_folds(self.cv, workers=workers, split=kind, rows_in=rows_in, refit=self.refit)
        return self

    @model_validator(mode="after")
    def _workers_have_whole_gpus(self) -> SweepConfig:
        gpus, workers = self.gpus_per_trial, range_of(self.workers_per_trial).most
        if workers > 1 and gpus is not None and 0.0 < gpus < 1.0:
            raise ValueError(
                f"`gpus_per_trial` must be 1, 0 or unset with several workers, but is {gpus:g} "
                f"with `workers_per_trial` {workers}: NCCL gives each rank a GPU of its own. "
                "Drop one of the two"
            )
        return self

    @property
    def limits(self) -> tuple[limit.Limit, ...]:
        """Returns what ``constraint`` says."""
        return tuple(limit.parsed(text) for text in self.constraint)

    @property
    def binds_winner(self) -> bool:
        """Says whether the winner must be one trial: a team, or another one, may break a limit;
        with folds each trial is several models already."""
        return bool(self.further or self.constraint or self.cv.folds)

    @property
    def measures_costs(self) -> bool:
        """Says whether a trial's latency and size decide anything."""
        return bool({*self.further, *(one.measure for one in self.limits)} & {*COSTS})

    @model_validator(mode="before")
    @classmethod
    def _takes_old_names(cls, settings: Any) -> Any:
        if not isinstance(settings, Mapping):
            return settings
        for old, new in RENAMED.items():
            if old in settings and new not in settings:
                text = f"`{old}` is called `{new}` now. Write `{new}={settings[old]}`."
                warnings.warn(text, RenamedSettingWarning, stacklevel=2)
                settings = {new if key == old else key: value for key, value in settings.items()}
        return settings
