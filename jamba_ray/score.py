"""Scores rows by a server: ``jamba-ray score``."""

from __future__ import annotations

import sys

from jamba_ray.cli.commands import SCORE as COMMAND

if __name__ == "__main__":
    sys.exit(COMMAND.main())

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
from rich.console import Console

from jamba_ray.cli.entry import say
from jamba_ray.cli.phases import Phases
from jamba_ray.config.serve import ScoreConfig
from jamba_ray.data.preprocessing import check_columns
from jamba_ray.data.row_batches import RowBatch, RowFile, row_file, valid_text
from jamba_ray.data.source import table_files
from jamba_ray.errors import ConfigError, DataError, ExitCode
from jamba_ray.inference.model_rows import STANDARD, STANDARD_INPUT, standard_input
from jamba_ray.inference.output_file import refuse_input, refuse_used, standard_output, whole_file
from jamba_ray.inference.scored_file import Kind, Verdicts, added_columns, kind_of, writer_to
from jamba_ray.serving.client import Client
from jamba_ray.serving.remote_scores import RemoteScores


def run(config: ScoreConfig, console: Console) -> ExitCode:
    """Writes the rows with the server's scores, and says how many are alerts."""
    if config.output == STANDARD:
        console = Console(stderr=True)  # rows alone go down the pipe
    with ExitStack() as stack:
        path = config.data.path
        if path == STANDARD:
            path = stack.enter_context(standard_input())
        return _score(config, path, console, stack)


def _score(config: ScoreConfig, path: str, console: Console, stack: ExitStack) -> ExitCode:
    begun = time.monotonic()
    phases = stack.enter_context(Phases(console))
    phases.begin(f"asking {config.url}", is_brief=True)

    def client() -> Client:
        return Client(config.url, config.token_file, config.ca, config.timeout_s, config.retries)

    model = client().ask("/model").json
    if not isinstance(model, dict) or "columns" not in model:
        raise ConfigError([f"`url` must be that of `jamba-ray serve`, but {config.url} is not."])
    if config.probability and not model.get("calibrated"):
        raise ConfigError(
            [
                "`probability=true` needs a model with a calibration, but the server's has none. "
                "Choose a threshold with `jamba-ray threshold`, and serve the run again."
            ]
        )
    files = [row_file(file, config.data.columns) for file in table_files(path)]
    first, target = files[0], Path(config.output).expanduser()
    added = added_columns(0, probability=config.probability, names=first.names)
    _check(files, model, added, STANDARD_INPUT if config.data.path == STANDARD else None)
    to_pipe = config.output == STANDARD
    kind: Kind = "json" if to_pipe and first.is_json else kind_of(target)
    if not to_pipe:
        refuse_input(target, [file.path for file in files], path)
        refuse_used(target, overwrite=config.overwrite)
    remote = RemoteScores(client, config.key)
    rows = alerts = 0
    versions: set[str] = set()
    stream = stack.enter_context(
        standard_output() if to_pipe else whole_file(target, overwrite=config.overwrite)
    )
    cut = float(model["thresholds"]["default"]["threshold"])
    write = stack.enter_context(writer_to(stream, first, cut, kind=kind, added=added))
    phases.begin("scoring")
    for sent in remote.scored(_tables(files, model, config.rows)):
        batch, found = sent.what, sent.found
        more = []
        if config.probability:
            if found.probability is None:
                raise DataError("the server's model has no calibration any more. Start again.")
            more = [pa.array(found.probability)]
        write(batch, found.score, more, Verdicts(found.alert == 1, found.threshold))
        rows, alerts = rows + len(found.score), alerts + int(np.count_nonzero(found.alert))
        versions |= found.versions
        phases.note = lambda n=rows: f"{n:,} rows so far"  # type: ignore[misc]
    phases.end()
    share = alerts / rows if rows else 0.0
    by = " and ".join(sorted(versions)) or "the server"
    again = f" {remote.sent_again} requests were sent again." if remote.sent_again else ""
    say(
        console,
        f"{rows:,} rows scored in {time.monotonic() - begun:.1f} s by {by}: {alerts:,} alerts "
        f"({share:.3%}).{again} "
        f"Written to {'standard output' if to_pipe else target}.",
    )
    return ExitCode.OK


def _check(
    files: list[RowFile], model: dict[str, list[dict[str, str]]], added: tuple[str, ...],
    named: str | None,
) -> None:  # fmt: skip
    """Refuses files that cannot be scored into one, before the first row is sent."""
    wanted, first = [one["column"] for one in model["columns"]], files[0]
    for file in files:
        check_columns(list(file.names), wanted, named or str(file.path))
        if file.names != first.names or file.schema != first.schema:
            raise DataError(
                "files that are scored into one must have the same columns and types, but "
                f"{file.path} differs from {first.path}; score them one by one."
            )
    if taken := sorted(set(added) & set(first.names)):
        raise DataError(
            f"{named or first.path} must not have a column {taken[0]!r}, which is the name of one "
            "that is added; rename it, or score the file that this one was made from."
        )


def _tables(
    files: list[RowFile], model: dict[str, list[dict[str, str]]], rows: int
) -> Iterator[tuple[RowBatch, pa.Table]]:
    """Yields batches of at most ``rows`` rows, each with the columns to send."""
    numbers = {one["column"] for one in model["columns"] if one["type"] == "number"}
    texts = {one["column"] for one in model["columns"] if one["type"] != "number"}
    formatted = {one["column"] for one in model["columns"] if "format" in one}
    for file in files:
        for whole in file.batches(numbers - formatted, texts | formatted):
            columns = whole.columns
            for i, name in enumerate(columns.column_names):
                if pa.types.is_string(columns[name].type):
                    columns = columns.set_column(i, name, valid_text(columns[name]))
            for at in range(0, columns.num_rows, rows):
                yield part_of(whole, at, rows), columns.slice(at, rows)


def part_of(batch: RowBatch, at: int, rows: int) -> RowBatch:
    """Returns some rows of a batch."""
    if at == 0 and batch.columns.num_rows <= rows:
        return batch
    return RowBatch(
        batch.columns.slice(at, rows),
        lambda: batch.table().slice(at, rows),
        None if batch.lines is None else batch.lines.slice(at, rows),
        None if batch.objects is None else batch.objects[at : at + rows],
    )
