"""The sweeps that the benchmark of sweeps compares, as settings of ``jamba_ray.sweep``."""

from __future__ import annotations

from dataclasses import dataclass

from jamba_ray.cli.composition import compose_section
from jamba_ray.config.run import SweepConfig
from jamba_ray.config.sweep_space import parse_space
from jamba_ray.data.prepared import PreparedData
from jamba_ray.study.sampling import first_rung
from jamba_ray.study.settings import base_config, report_rows
from jamba_ray.training.schedule import Timetable
from tests.benchmarks.peers.job import Job

_SEARCH_ALONE = "default_first=false"
"""The peers' samplers begin with random trials: what is compared is the same work."""
_SMALL = (
    "sweep_name=small_mlp",
    "model=mlp",
    "model.hidden_dim=64",
    "model.token_dim=8",
    "training.batch_size=128",
    "training.epochs=4",
    "search_space.model.dropout_rate={type: float, low: 0.0, high: 0.4}",
    "search_space.training.learning_rate={type: float, low: 3.0e-4, high: 2.0e-2, log: true}",
    "search_space.training.weight_decay={type: float, low: 1.0e-6, high: 1.0e-1, log: true}",
)

WORKLOADS: dict[str, tuple[str, ...]] = {
    # As shipped, but of 6 epochs: 12 trials, 24,500 training rows; heads differ, so structures do.
    "attention_heads": ("+sweep=attention_heads", "training.epochs=6", "training.batch_size=256"),
    # What most sweeps of tabular models are: a small network, only stackable parameters.
    "small_mlp": (*_SMALL, "n_trials=32"),
    "many_small_mlp": (*_SMALL, "n_trials=128"),
    "long_small_mlp": (*_SMALL, "n_trials=512"),
    "quick": (*_SMALL, "n_trials=8", "training.epochs=1", "data.n_samples=8000"),
}
ABOUT = {
    "attention_heads": "the shipped sweep `attention_heads`",
    "small_mlp": "`mlp`, hidden 64, batch 128; learning rate, dropout, weight decay",
    "many_small_mlp": "`small_mlp` with four times the trials",
    "long_small_mlp": "`small_mlp` with sixteen times the trials",
    "quick": "`small_mlp` with one epoch of few rows",
}


@dataclass(frozen=True)
class Workload:
    """One sweep."""

    name: str
    settings: tuple[str, ...]
    config: SweepConfig

    @classmethod
    def of(cls, name: str, more: tuple[str, ...] = ()) -> Workload:
        """A workload by name; ``more`` are settings put after its own."""
        settings = (*WORKLOADS[name], _SEARCH_ALONE, *more)
        return cls(name, settings, compose_section(SweepConfig, "config", settings))

    def job(self, data: PreparedData, folder: str, *, slots: int, cpus: int, gpus: int) -> Job:
        """The same budget for the peers: trials, epochs, reports, rungs, sampler."""
        config, n_train = self.config, len(data.train)
        base = base_config(config, n_train)
        space = parse_space(config)
        return Job(
            folder=folder,
            base=base.model_dump(mode="json"),
            space={p.path: p.leaf.model_dump(mode="json") for p in space.parameters},
            n_trials=config.n_trials,
            n_reports=Timetable.of(base.training, n_train).n_reports,
            first_rung=first_rung(config.pruner, report_rows(config.trial(), n_train)),
            reduction_factor=config.pruner.reduction_factor,
            n_startup_trials=config.sampler.n_startup_trials,
            seed=config.seed,
            slots=slots,
            cpus=cpus,
            gpus=gpus,
        )
