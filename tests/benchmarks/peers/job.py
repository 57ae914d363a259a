"""What every peer is given, and what it hands back: JSON and ``.npy`` files in one folder."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

import jamba_ray.models  # noqa: F401  (registers the model families)
from jamba_ray.config.params import with_params
from jamba_ray.config.run import TrialConfig
from jamba_ray.data.prepared import FeatureSchema, PreparedData, Rows


@dataclass(frozen=True)
class Job:
    """A sweep's budget, the same for all."""

    folder: str
    """Holds the data and the results; a peer may write here what it likes."""
    base: dict[str, Any]
    """The ``TrialConfig`` that trials vary: the model, the loss, the schedule."""
    space: dict[str, dict[str, Any]]
    """Dotted path -> leaf (type, low, high, log, choices)."""
    n_trials: int
    n_reports: int
    """Reports of a trial that runs to its end: ASHA's resource."""
    first_rung: int
    reduction_factor: int
    n_startup_trials: int
    seed: int
    slots: int
    """Trials at a time."""
    cpus: int
    gpus: int

    @property
    def device(self) -> str:
        """The torch device of a trial."""
        return "cuda" if self.gpus else "cpu"

    @property
    def threads(self) -> int:
        """Intra-op threads of a trial, so that trials do not fight."""
        return max(1, self.cpus // self.slots)

    @property
    def resources(self) -> dict[str, float]:
        """What Ray reserves for a trial."""
        gpu = {"GPU": self.gpus / self.slots} if self.gpus else {}
        return {"CPU": float(self.threads), **gpu}

    def config_of(self, params: dict[str, Any]) -> TrialConfig:
        """A trial's configuration from its parameters and ``number``; as in jamba_ray its seed is
        seed + number."""
        varied = {path: value for path, value in params.items() if path != "number"}
        config = with_params(TrialConfig.model_validate(self.base), varied)
        return config.model_copy(update={"seed": (self.seed + params["number"]) % 2**31})


def suggest(trial: Any, space: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Define-by-run, the way Optuna's documentation writes it."""
    params = {}
    for path, leaf in space.items():
        if leaf["type"] == "categorical":
            params[path] = trial.suggest_categorical(path, leaf["choices"])
        elif leaf["type"] == "int":
            params[path] = trial.suggest_int(path, leaf["low"], leaf["high"], log=leaf["log"])
        else:
            params[path] = trial.suggest_float(path, leaf["low"], leaf["high"], log=leaf["log"])
    return params


def sampler(job: Job, seed: int) -> Any:
    """The sampler that jamba_ray's sweep uses too."""
    import warnings

    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.TPESampler(
            n_startup_trials=job.n_startup_trials,
            multivariate=True,
            constant_liar=job.slots > 1,
            seed=seed,
        )


# --- files ------------------------------------------------------------------------------------


def write_job(job: Job, data: PreparedData) -> None:
    """Write the job and its rows, once for all peers."""
    folder = Path(job.folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "job.json").write_text(json.dumps(asdict(job)))
    (folder / "schema.json").write_text(json.dumps(data.schema.to_json()))
    for part in ("train", "val"):
        rows = getattr(data, part)
        for name in ("x_num", "x_cat", "y"):
            np.save(folder / f"{part}-{name}.npy", getattr(rows, name))


def read_job(folder: str) -> Job:
    """Inverse of ``write_job``."""
    return Job(**json.loads((Path(folder) / "job.json").read_text()))


def read_data(folder: str) -> PreparedData:
    """The rows, mapped into memory: processes of one machine share them."""
    path = Path(folder)
    parts = {
        part: Rows(
            *(
                np.load(path / f"{part}-{name}.npy", mmap_mode="r")
                for name in ("x_num", "x_cat", "y")
            )
        )
        for part in ("train", "val")
    }
    schema = FeatureSchema.from_json(json.loads((path / "schema.json").read_text()))
    return PreparedData(schema, {}, parts["train"], parts["val"], "peer")


def write_result(job: Job, peer: str, trials: list[dict[str, float]]) -> None:
    """``trials``: for each its ``value``, ``ended_at`` (Unix seconds), ``rows`` and ``step_s``."""
    path = Path(job.folder) / f"{peer}.json"
    path.write_text(json.dumps(trials, allow_nan=False))
