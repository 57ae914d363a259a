"""Checks a server: health, version, answers and latency: ``jamba-ray check``."""

from __future__ import annotations

import sys

from jamba_ray.cli.commands import CHECK as COMMAND

if __name__ == "__main__":
    sys.exit(COMMAND.main())

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from rich.console import Console

from jamba_ray.cli.entry import say
from jamba_ray.config.serve import CheckConfig
from jamba_ray.errors import ConfigError, ExitCode, JambaError
from jamba_ray.serving.client import Client
from jamba_ray.serving.split import place_of

Finding = tuple[bool, str]
"""Whether it is well, and the sentence."""


def run(config: CheckConfig, console: Console) -> ExitCode:
    """Prints a line for each check; the exit code says whether all are well."""
    client = Client(config.url, config.token_file, config.ca, config.timeout_s, retries=2)
    client.ask("/health")
    model = client.ask("/model").json
    if not isinstance(model, dict) or "sha256" not in model:
        raise ConfigError([f"`url` must be that of `jamba-ray serve`, but {config.url} is not."])
    is_well = True
    for check in (_ready, _version, _canary, _answers, _latency):
        for well, sentence in _found(check, client, config, model):
            say(console, f"{'ok  ' if well else 'fail'}  {sentence}")
            is_well &= well
    return ExitCode.OK if is_well else ExitCode.WORSE


def _found(
    check: Callable[[Client, CheckConfig, dict[str, Any]], Iterator[Finding]],
    client: Client,
    config: CheckConfig,
    model: dict[str, Any],
) -> Iterator[Finding]:
    try:
        yield from check(client, config, model)
    except JambaError as error:
        yield False, error.message


def _ready(client: Client, config: CheckConfig, model: dict[str, Any]) -> Iterator[Finding]:
    client.ask("/ready")
    yield True, f"{config.url} is ready ({model.get('program', 'another program')})."


def _version(client: Client, config: CheckConfig, model: dict[str, Any]) -> Iterator[Finding]:
    version = model["version"]
    what = f"{version} answers ({model['sha256'][:12]}, {'+'.join(model.get('families') or [])})"
    if not config.version or version in config.version:
        yield True, f"{what}."
        return
    yield False, f"{' or '.join(config.version)} must answer, but {what}."


def _canary(client: Client, config: CheckConfig, model: dict[str, Any]) -> Iterator[Finding]:
    for kind in ("canary", "ab", "shadow"):
        if kind in model:
            yield True, f"{model[kind]['version']} is beside it as {kind}."
    if (gone := model.get("rolled_back")) is not None:
        yield False, f"the canary {gone['version']} was taken back: {gone['why']}."


def _answers(client: Client, config: CheckConfig, model: dict[str, Any]) -> Iterator[Finding]:
    reference = client.ask("/reference").json
    rows, wanted = reference["rows"], np.array(reference["score"])
    found = client.ask("/predict", json.dumps(rows).encode(), {"x-key": _champions_key(model)}).json
    if reference["version"] not in str(found["version"]):
        yield True, "another version came in between: its answers were not compared."
        return
    apart = float(np.abs(np.array(found["score"]) - wanted).max(initial=0.0))
    yield (
        apart <= config.max_dp,
        f"on {len(wanted)} reference rows scores differ from those before the export by at most "
        f"{apart:.1e} (limit {config.max_dp:g}).",
    )


def _champions_key(model: dict[str, Any]) -> str:
    """Returns a key that the champion answers."""
    shares = [float(model[kind]["share"]) for kind in ("canary", "ab") if kind in model]
    share = max(shares, default=0.0)
    return next((key for key in map(str, range(10_000)) if place_of(key) >= share), "0")


def _latency(client: Client, config: CheckConfig, model: dict[str, Any]) -> Iterator[Finding]:
    rows = client.ask("/reference").json["rows"]
    n = len(next(iter(rows.values())))
    each = ({name: cells[i] for name, cells in rows.items()} for i in range(n))
    bodies = [json.dumps(row).encode() for row in each]
    taken = []
    for i in range(config.requests):
        begun = time.perf_counter()
        client.ask("/predict", bodies[i % n])
        taken.append(1000 * (time.perf_counter() - begun))
    half, most = np.quantile(taken, [0.5, 0.99])
    limit = "" if config.latency_ms is None else f" (limit of the half {config.latency_ms:g} ms)"
    yield (
        config.latency_ms is None or float(half) <= config.latency_ms,
        f"one row takes {half:.1f} ms in half of {config.requests} requests, {most:.1f} ms in 99 % "
        f"of them{limit}.",
    )
