"""Builds the team of the store that its argument names, as the end of a sweep does.

``python -m tests.driver.team_run FOLDER [N]`` kills itself with -9 at the Nth file that it writes.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from jamba_ray.checkpoints import folder as folder_module
from jamba_ray.config.run import SweepConfig
from jamba_ray.data import prepare
from jamba_ray.driver import verdict
from jamba_ray.runs.run_folder import RunFolder
from jamba_ray.study.records import TrialRecord
from jamba_ray.training import Member, fit

MODELS: tuple[dict[str, Any], ...] = (
    {"name": "lightgbm", "n_estimators": 30, "num_leaves": 15},
    {"name": "mlp", "hidden_dim": 16},
    {"name": "mlp", "hidden_dim": 24},
)


def configured(folder: Path, **settings: Any) -> SweepConfig:
    """Returns the sweep over the table in ``folder``."""
    tree = {
        "model": {"name": "mlp"},
        "training": {"epochs": 15, "batch_size": 64},
        "data": {
            "name": "table",
            "path": str(folder / "rows.csv"),
            "split": {"val": 0.7, "test": 0.15},
        },
        "store": str(folder),
        "run": "run",
        "rival": False,
        **settings,
    }
    return SweepConfig.model_validate(tree)


def trained(folder: Path, frame: pd.DataFrame, **settings: Any) -> tuple[Any, Any, RunFolder, Any]:
    """Trains the candidates; returns (configuration, data, run folder, trials)."""
    frame.to_csv(folder / "rows.csv", index=False)
    config = configured(folder, **settings)
    data = prepare(config.data, lambda words: None)
    run = RunFolder.of(config.store, "run").create()
    store = run.checkpoint_store()
    trials = []
    for number, model in enumerate(MODELS):
        base = config.trial().model_dump(mode="json")
        own = type(config.trial()).model_validate({**base, "model": model, "seed": number})
        (outcome,) = fit([Member(number, own)], data, lambda reports: ["continue"] * len(reports))
        assert outcome.checkpoint is not None
        path = store.save(number, outcome.best_step, outcome.checkpoint, "best")
        trials.append(record(number, model["name"], outcome.value, outcome.best_step, path))
    return config, data, run, trials


def record(number: int, family: str, value: Any, step: int, path: str) -> TrialRecord:
    """Returns a complete trial."""
    return TrialRecord(
        number=number,
        state="complete",
        params={"model.name": family},
        value=value,
        metrics={},
        best_step=step,
        rows_seen=0,
        epochs=0.0,
        seconds=0.0,
        goodput_s=0.0,
        reason=None,
        checkpoint=path,
        curve=(),
    )


def keep(trials: Any, folder: Path) -> None:
    """Writes the trials for the process that ``main`` runs in."""
    rows = [
        {
            "number": t.number,
            "family": t.params["model.name"],
            "value": t.value,
            "step": t.best_step,
            "path": t.checkpoint,
        }
        for t in trials
    ]
    (folder / "trials.json").write_text(json.dumps(rows))


def kept(folder: Path) -> list[TrialRecord]:
    """Returns the trials that ``keep`` wrote."""
    rows = pd.read_json(folder / "trials.json").to_dict("records")
    return [record(**{str(k): v for k, v in row.items()}) for row in rows]


def main(folder: Path, kill_at: int | None) -> None:
    """Judges the winner of the trials that ``folder`` holds."""
    torch.set_num_threads(1)
    config = configured(folder)
    data = prepare(config.data, lambda words: None)
    run = RunFolder.of(config.store, "run")
    trials = kept(folder)
    written, write = [0], folder_module._write_durably

    def killed(path: Path, content: bytes) -> None:
        written[0] += 1
        if written[0] == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        write(path, content)

    folder_module._write_durably = killed
    winner = max(trials, key=lambda t: t.value or 0.0)
    verdict.of_winner(config, data, run, winner, trials)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else None)
