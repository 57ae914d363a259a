"""Reads a network from a ``.pt`` file as a run: ``jamba-ray import``."""

from __future__ import annotations

import sys

from jamba_ray.cli.commands import IMPORT as COMMAND

# Above the other imports, which take seconds: help and mistakes need none of them.
if __name__ == "__main__":
    sys.exit(COMMAND.main())

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from rich.console import Console

from jamba_ray.checkpoints import Snapshot, write_checkpoint
from jamba_ray.checkpoints.thresholds import FILE, beside, with_threshold
from jamba_ray.cli.entry import say
from jamba_ray.cli.phases import Phases
from jamba_ray.config.command_line import command
from jamba_ray.config.data import TableSection
from jamba_ray.config.export import ImportConfig
from jamba_ray.config.names import run_name
from jamba_ray.data import prepare
from jamba_ray.data.reference import reference_of
from jamba_ray.driver.score_table import score_table
from jamba_ray.driver.verdict import judge
from jamba_ray.errors import CheckpointError, ConfigError, ExitCode, RunExistsError, StorageError
from jamba_ray.exports import pt_file, pt_model
from jamba_ray.exports.files import read_file
from jamba_ray.inference.predictor import Predictor, SavedModel
from jamba_ray.runs.file_writes import write_bytes
from jamba_ray.runs.run_folder import RunFolder
from jamba_ray.training.validation import final_metrics


def run(config: ImportConfig, console: Console) -> ExitCode:
    """Writes the model as the ``best/`` of a run, and says what it is."""
    folder = RunFolder(Path(config.store) / _run_name(config))
    best = folder.path / "best"
    if folder.path.exists() and not config.overwrite:
        raise RunExistsError(
            f"the run must not exist yet, but {str(folder.path)!r} does. Replace its model with "
            "`overwrite=true`, or choose another `run=`."
        )
    with Phases(console) as phases:
        phases.begin("reading the file", is_brief=True)
        raw = read_file(config.pt, pt_file.MAX_BYTES, "pt")
        try:
            found = pt_file.read(raw)
            saved, files = _model(config, found, console, phases)
            predictor = saved.predictor()
        except (ValueError, CheckpointError) as error:
            raise ConfigError(
                [f"`pt` must be the .pt file of a network, but {error}. Give another file."]
            ) from error
        phases.begin("writing the run", is_brief=True)
        _write(folder, best, saved, files)
    n = len(predictor.preprocessing.columns)
    say(console, f"{config.pt} is now {folder.path}: {predictor.config.model.name}, {n} columns.")
    if files:
        objective = f"val/{predictor.config.objective}"
        say(
            console, f"On validation rows of {config.data.path}: {predictor.metrics[objective]:.4f}"
        )
    say(console, f"next: {command('predict', str(folder.path), 'new.csv', '-o', 'scored.csv')}")
    return ExitCode.OK


def _run_name(config: ImportConfig) -> str:
    if config.run is not None:
        return config.run
    try:
        return run_name(Path(config.pt).stem)
    except ValueError as error:
        raise ConfigError([f"`run` must be given, since {error}."]) from error


def _model(
    config: ImportConfig, found: dict[str, object], console: Console, phases: Phases
) -> tuple[SavedModel, dict[str, bytes]]:
    """Returns the model, and by name the files of its rows where it was judged on ``data.path``."""
    if config.data.path is None:
        if pt_model.own_of(found) is None:
            raise ConfigError(
                [
                    f"{config.pt} has no preprocessing, so that it needs the labelled rows that it "
                    "was trained on. Add `data.path=flows.csv`, with `data.target=` for their "
                    "labels."
                ]
            )
        return pt_model.saved_model(found), {}
    phases.begin("reading the data")
    section = TableSection.model_validate({"name": "table", **config.data.model_dump()})
    data = prepare(section, partial(say, console))
    trial = pt_model.foreign_trial(found, data.schema)
    bare = pt_model.foreign_snapshot(found, trial, data, {})
    phases.begin("judging the model")
    judged = judge(Predictor(bare), data)
    threshold, metrics = final_metrics(data.val.y, judged.probabilities["val"])
    snapshot = Snapshot(
        bare.tensors, {**bare.documents, "metrics": {**metrics, "threshold": threshold}}
    )
    files = {
        "scores": score_table(judged.probabilities, None, data),
        "reference": reference_of(data, judged.probabilities).to_bytes(),
    }
    return SavedModel(snapshot, {}, None), files


def _write(folder: RunFolder, best: Path, saved: SavedModel, files: Mapping[str, bytes]) -> None:
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            f"{str(folder.path)!r} must be writable, but is not ({error.strerror or error}). "
            "Choose another `store=`."
        ) from error
    write_checkpoint(saved.snapshot, best)
    if saved.thresholds:
        digest, calibration = beside(best)[1], saved.calibration or {}
        names = list(saved.thresholds)
        content = with_threshold(
            saved.thresholds, names[0], saved.thresholds[names[0]], digest, calibration
        )
        write_bytes(best / FILE, content)
    for name, content in files.items():
        write_bytes(getattr(folder, name), content)
