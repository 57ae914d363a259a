"""Scores a file of unlabelled rows into an output file: ``python -m jamba_ray.predict``."""

from __future__ import annotations

import sys

from jamba_ray.cli.commands import PREDICT as COMMAND

# Above the other imports, which take seconds: help and mistakes need none of them.
if __name__ == "__main__":
    sys.exit(COMMAND.main())

import time
from functools import partial

from rich.console import Console

import jamba_ray
from jamba_ray.cli.entry import say
from jamba_ray.cli.phases import Phases
from jamba_ray.config.command_line import command, given, override
from jamba_ray.config.plugin_modules import as_words
from jamba_ray.config.predict import PredictConfig
from jamba_ray.errors import ExitCode
from jamba_ray.inference import predict_file
from jamba_ray.inference.model_rows import STANDARD, STANDARD_INPUT


def run(config: PredictConfig, console: Console) -> ExitCode:
    """Scores every row into the output file and prints how many are alerts."""
    begun = time.monotonic()
    if config.output == STANDARD:
        console = Console(stderr=True)  # rows alone go down the pipe
    with Phases(console) as phases:
        phases.begin("reading the model", is_brief=True)
        predictor = jamba_ray.load(config.run, registry=config.registry)
        path = config.data.path
        phases.begin(f"reading {STANDARD_INPUT if path == STANDARD else path}", is_brief=True)

        def progress(rows: int) -> None:
            phases.note = lambda: f"{rows:,} rows so far" if rows else ""
            phases.begin("scoring")

        scored = predict_file(
            predictor,
            path,
            config.output,
            threshold=config.threshold,
            columns=config.data.columns,
            explain=config.explain,
            probability=config.probability,
            prior=config.prior,
            overwrite=config.overwrite,
            tell=partial(say, console),
            progress=progress,
        )
    share = scored.alerts / scored.rows if scored.rows else 0.0
    say(
        console,
        f"{scored.rows:,} rows scored in {time.monotonic() - begun:.1f} s: {scored.alerts:,} "
        f"alerts ({share:.3%}) at {scored.threshold:.6g}, {scored.threshold_is}. Written to "
        f"{'standard output' if scored.output == STANDARD else scored.output}.",
    )
    if STANDARD not in {path, scored.output} and scored.rows:
        words = [config.run, path]
        if config.threshold is not None:
            words.append(override("threshold", config.threshold))
        if config.data.columns:
            words.append(override("data.columns", config.data.columns))
        words += [*given(config, "registry"), *as_words(config.plugins)]
        say(console, f"next, for the row with the highest score: {command('explain', *words)}")
    return ExitCode.OK
