"""Writes what a run found to one HTML file: ``python -m jamba_ray.report run=<run>``."""

from __future__ import annotations

import sys

from jamba_ray.cli.commands import REPORT as COMMAND

# Above the other imports, which take seconds: help and mistakes need none of them.
if __name__ == "__main__":
    sys.exit(COMMAND.main())

import contextlib
from pathlib import Path

from rich.console import Console

from jamba_ray.config.report import ReportConfig
from jamba_ray.config.store_uri import StoreUri
from jamba_ray.errors import ConfigError, ExitCode
from jamba_ray.reports import answer, bucket
from jamba_ray.reports.compare import get_best_runs, runs_in
from jamba_ray.reports.files import write_comparison, write_report
from jamba_ray.reports.page import get_ranked
from jamba_ray.runs.bucket_replica import BucketReplica
from jamba_ray.runs.file_writes import write_bytes
from jamba_ray.runs.run_folder import SCRATCH, RunFolder


def run(config: ReportConfig, console: Console) -> ExitCode:
    """Writes the report and prints its path; works while the run goes on and after a crash."""
    if config.run is not None:
        with bucket.opened(config.run, config.store, config.store_endpoint) as one:
            path = write_report(one, interactive=config.report.interactive)
            place = bucket.place_of(config.run, config.store)
            if place is not None:
                path = _kept(path, place, config.store_endpoint)
            _say(console, answer.headline(one), path)
        return ExitCode.OK
    names = config.runs or list(
        get_best_runs(runs_in(config.store), config.metric, config.top_n or 1)["run"]
        if runs_in(config.store)
        else ()
    )
    if not names:
        raise ConfigError(
            [
                f"`store` must hold a run with a result, but {config.store!r} holds none. "
                "Say `store=`."
            ]
        )
    metric = None if config.runs else config.metric
    with contextlib.ExitStack() as stack:
        chosen = [
            stack.enter_context(bucket.opened(name, config.store, config.store_endpoint))
            for name in names
        ]
        where = SCRATCH if "://" in config.store else config.store
        path = write_comparison(chosen, Path(where) / "comparison.html", metric)
        _say(console, get_ranked(chosen, metric), path)
    return ExitCode.OK


def _kept(path: Path, place: StoreUri, endpoint: str | None) -> Path:
    """Copies a report into the run's bucket and below ``runs`` here, and returns the local path."""
    name = path.parent.name
    BucketReplica(RunFolder(path.parent, place, endpoint), place).push_report(
        path, path.with_suffix(".md")
    )
    here = Path(SCRATCH) / name / path.name
    here.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(here, path.read_bytes())
    return here


def _say(console: Console, sentence: str, path: Path) -> None:
    console.print(sentence, markup=False, highlight=False, soft_wrap=True)
    console.print(f"The report is {path}", markup=False, highlight=False, soft_wrap=True)
