"""Writes a model as a file for other runtimes: ``jamba-ray export``."""

from __future__ import annotations

import sys

from jamba_ray.cli.commands import EXPORT as COMMAND

# Above the other imports, which take seconds: help and mistakes need none of them.
if __name__ == "__main__":
    sys.exit(COMMAND.main())

import importlib
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from jamba_ray.cli.entry import say
from jamba_ray.cli.phases import Phases
from jamba_ray.config.command_line import command, override
from jamba_ray.config.export import FORMATS, MAX_BYTES, ExportConfig
from jamba_ray.errors import ConfigError, ExitCode, StorageError
from jamba_ray.exports.files import read_file
from jamba_ray.exports.subject import Limits, Subject, check_installed, rows_at, subject_of
from jamba_ray.inference.output_file import refuse_used, whole_file
from jamba_ray.inference.predictor import read_model
from jamba_ray.runs.rows_of_run import labelled_rows, real_rows
from jamba_ray.versions.loading import local_path

_PACKAGES = {
    "onnx": {"onnx": "export", "onnxruntime": "export"},
    "gguf": {"gguf": "export"},
}
"""Format -> package -> the extra that installs it."""


def run(config: ExportConfig, console: Console) -> ExitCode:
    """Writes the file, or verifies one, and says what the comparison found."""
    written_as = config.format if config.verify is None else _format_of(config.verify)
    check_installed(f"`format={written_as}`", _PACKAGES.get(written_as, {}))
    output = _output(config)
    is_info = config.show_info and written_as == "gguf"
    if config.verify is None and not is_info:
        refuse_used(output, overwrite=config.overwrite)
    with Phases(console) as phases:
        phases.begin("reading the model", is_brief=True)
        subject = _subject(config, console, phases, is_judged=written_as == "gguf")
        limits = {"limits": Limits(config.max_flip_rate, config.max_loss)}
        more: dict[str, Any] = dict(limits) if written_as == "gguf" else {}
        body = importlib.import_module(f"jamba_ray.exports.{written_as}_export")
        if config.verify is not None:
            phases.begin("comparing")
            raw = read_file(config.verify, MAX_BYTES, "verify")
            words = body.verified(subject, raw, **more)
            phases.end()
            say(console, f"{config.verify} gives the model's answers on {words}.")
            return ExitCode.OK
        if is_info:
            phases.begin("quantising")
            rows = body.table(subject)
            phases.end()
            _print(console, rows)
            return ExitCode.OK
        phases.begin("writing and comparing")
        if written_as == "gguf":
            more |= {"quantization": config.quantization}
        raw, words = body.exported(subject, **more)
        _write(output, raw, overwrite=config.overwrite)
    say(console, f"Proven on {words}.")
    say(console, f"Written to {output} ({len(raw) / 1e6:.2f} MB).")
    if config.format != "pt2":  # a program is proven when it is written alone
        again = command("export", config.run, override("verify", str(output)))
        say(console, f"next, to prove it again, with rows of yours: {again} data.path=new.csv")
    return ExitCode.OK


def _output(config: ExportConfig) -> Path:
    if config.output is not None:
        return Path(config.output)
    folder = f"gguf/{config.quantization}" if config.format == "gguf" else config.format
    return Path(f"models/{folder}/{_name(config.run)}.{config.format}")


def _print(console: Console, rows: list[tuple[str, str, str, str]]) -> None:
    """Prints what each quantisation is and what it costs."""
    say(console, "A quantised file is smaller, not faster: scoring turns weights back to float32.")
    for name, meaning, size, cost in rows:
        say(console, f"{name} ({size}): {meaning}.")
        say(console, f"  On {cost}.")


def _format_of(path: str) -> str:
    suffix = Path(path).suffix.removeprefix(".")
    if suffix not in FORMATS:
        listed = ", ".join(f".{name}" for name in FORMATS)
        raise ConfigError(
            [
                f"`verify` must be a file of `jamba-ray export` ({listed}), but is {path!r}. "
                "Give one with its name as it was written."
            ]
        )
    return suffix


def _write(output: Path, raw: bytes, *, overwrite: bool) -> None:
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            f"the folder {str(output.parent)!r} must be writable, but is not "
            f"({error.strerror or error}). Choose another `output=`."
        ) from error
    with whole_file(output, overwrite=overwrite) as file:
        file.write(raw)


def _name(run: str) -> str:
    """Returns the name of a run from its path or URI."""
    path = Path(run.rstrip("/")) if "://" in run else Path(run).resolve()
    return path.parent.name if path.name == "best" else path.name


def _subject(config: ExportConfig, console: Console, phases: Phases, *, is_judged: bool) -> Subject:
    """Returns the model with its rows; ``is_judged``: with labelled ones, which weights that are
    not equal to the bit need."""
    run = local_path(config.run, config.registry)
    saved = read_model(run)
    preprocessing = saved.predictor().preprocessing
    phases.begin("reading rows to compare on")
    real = None
    if config.rows and config.data.path is not None:
        real = rows_at(config.data.path, config.data.columns, preprocessing, config.rows)
    elif config.rows:
        real = real_rows(run, preprocessing, config.rows, partial(say, console))
    labelled = labelled_rows(run, saved) if is_judged else None
    phases.begin("scoring the rows")
    return replace(subject_of(saved, real), labelled=labelled)
