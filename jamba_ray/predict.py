"""Scores a file of unlabelled rows into an output file: ``python -m jamba_ray.predict``."""

from __future__ import annotations

import sys
import time
from functools import partial

from rich.console import Console

import jamba_ray
from jamba_ray.cli.entry import Command
from jamba_ray.config.predict import PredictConfig
from jamba_ray.errors import ExitCode
from jamba_ray.inference import predict_file
from jamba_ray.inference.predict_file import STANDARD
from jamba_ray.runs.run_log import say

ABOUT = "Score unlabelled rows: write them with score, alert and threshold."
EXAMPLES = """\
  python -m jamba_ray.predict runs/night-1 new.csv -o scored.csv
  python -m jamba_ray.predict run=runs/night-1 data.path=march/ output=scored.parquet threshold=soc
  zcat flows.csv.gz | python -m jamba_ray.predict runs/night-1 - -o - > scored.csv
"""


def run(config: PredictConfig, console: Console) -> ExitCode:
    """Scores every row into the output file and prints how many are alerts."""
    begun = time.monotonic()
    if config.output == STANDARD:
        console = Console(stderr=True)  # rows alone go down the pipe
    predictor = jamba_ray.load(config.run)
    scored = predict_file(
        predictor,
        config.data.path,
        config.output,
        threshold=config.threshold,
        columns=config.data.columns,
        overwrite=config.overwrite,
        tell=partial(say, console),
    )
    share = scored.alerts / scored.rows if scored.rows else 0.0
    say(
        console,
        f"{scored.rows:,} rows scored in {time.monotonic() - begun:.1f} s: {scored.alerts:,} "
        f"alerts ({share:.3%}) at {scored.threshold:.6g}, {scored.threshold_is}. Written to "
        f"{'standard output' if scored.output == STANDARD else scored.output}.",
    )
    return ExitCode.OK


COMMAND = Command(
    name="predict",
    about=ABOUT,
    examples=EXAMPLES,
    section=PredictConfig,
    primary="predict",
    run=run,
    positional=("run", "data.path"),
    short={"-o": "output"},
)

if __name__ == "__main__":
    sys.exit(COMMAND.main())
