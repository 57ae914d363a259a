"""Chooses the score from which a row is an alert: ``python -m jamba_ray.threshold``."""

from __future__ import annotations

import sys

from jamba_ray.cli.commands import THRESHOLD as COMMAND

# Above the other imports, which take seconds: help and mistakes need none of them.
if __name__ == "__main__":
    sys.exit(COMMAND.main())

import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table

from jamba_ray.checkpoints import RemoteFolder
from jamba_ray.checkpoints.thresholds import (
    FILE,
    beside,
    beside_remote,
    read_thresholds,
    with_threshold,
)
from jamba_ray.cli.entry import say
from jamba_ray.cli.phases import Phases
from jamba_ray.cli.summary_text import first_that_fits
from jamba_ray.config.command_line import command, override
from jamba_ray.config.data import CALIBRATION
from jamba_ray.config.plugin_modules import as_words
from jamba_ray.config.predict import DEFAULT, ThresholdConfig
from jamba_ray.config.store_uri import StoreUri, parse_store
from jamba_ray.errors import ConfigError, DataError, ExitCode
from jamba_ray.evaluation.calibration import calibrated, judged
from jamba_ray.evaluation.goal import Goal, operating_point, threshold_for
from jamba_ray.evaluation.promise import Promise
from jamba_ray.evaluation.promise_of_run import drawn_groups_of, promised_of
from jamba_ray.inference import find_checkpoint
from jamba_ray.runs.file_writes import write_bytes
from jamba_ray.versions.loading import refuse_version

_SCORES = "scores.parquet"
_COLUMNS = ("part", "label", "probability")
_FURTHER = ("group", "time", "drawn", "newest")
_MAX_SCORES_BYTES = 1 << 34
_SUMMARY = "summary.json"
_MAX_SUMMARY_BYTES = 1 << 28


def goal_of(config: ThresholdConfig) -> Goal:
    """Returns the goal that the settings ask for."""
    ratio = config.threat_ratio
    if config.alerts_per_day is not None and config.rows_per_day is not None:
        return Goal("max_alert_share", config.alerts_per_day / config.rows_per_day, ratio)
    if config.cost_missed is not None and config.cost_false_positive is not None:
        return Goal("least_cost", config.cost_missed / config.cost_false_positive, ratio)
    if config.min_recall is not None:
        return Goal("min_recall", config.min_recall, ratio)
    if config.min_precision is not None:
        return Goal("min_precision", config.min_precision, ratio)
    assert config.max_fpr is not None
    return Goal("max_fpr", config.max_fpr, ratio)


def run(config: ThresholdConfig, console: Console) -> ExitCode:
    """Chooses, prints and saves one threshold."""
    refuse_version(config.run)
    place = _place(config.run)
    with Phases(console) as phases:
        phases.begin("reading the scores", is_brief=True)
        chosen = _chosen(config, place)
    _print(console, config, chosen)
    return ExitCode.OK


@dataclass(frozen=True)
class Chosen:
    """Holds a threshold, what it rests on, what it costs and what it promises."""

    threshold: float
    part: str
    """The part of the rows that it was chosen on."""
    points: Mapping[str, Mapping[str, Any]]
    """Part -> the operating point there."""
    promise: Promise | None
    calibration: Mapping[str, Any]


def _chosen(config: ThresholdConfig, place: StoreUri | str) -> Chosen:
    """Chooses and saves a threshold."""
    if isinstance(place, StoreUri):
        remote = RemoteFolder(place)
        raw, digest, prefix = beside_remote(remote)
        where, scores = f"{place}/{prefix}".rstrip("/"), remote.read(_SCORES, _MAX_SCORES_BYTES)
        summary = _read(remote.read(_SUMMARY, _MAX_SUMMARY_BYTES))
    else:
        folder = find_checkpoint(Path(place))
        raw, digest = beside(folder)
        where, scores = str(folder), _beside(folder, _SCORES)
        summary = _read(_beside(folder, _SUMMARY))
    saved = read_thresholds(raw, digest, where)
    parts = _parts(scores, config.run)
    # Rows that chose no model where there are any: the validation rows flatter it.
    part = CALIBRATION if CALIBRATION in parts else "val"
    rows = parts[part]
    if config.confidence is None:
        threshold = threshold_for(rows["label"], rows["probability"], goal_of(config))
        promise = None
    else:
        threshold, promise = _promised(config, config.confidence, parts, part, summary)
    drawn = drawn_groups_of(summary)
    points = {
        name: operating_point(
            rows["label"],
            rows["probability"],
            threshold,
            rows["group"] if name in drawn and "group" in rows else None,
        )
        for name, rows in parts.items()
    }
    asked = config.model_dump(mode="json", exclude_none=True, exclude={"run", "name", "verbose"})
    one = {
        "threshold": threshold,
        "asked": asked,
        "chosen_on": part,
        "points": points,
        "promise": None if promise is None else promise.to_json(),
    }
    calibration = _calibration(config, parts, part)
    content = with_threshold(saved, config.name, one, digest, calibration)
    if isinstance(place, StoreUri):
        remote.write(f"{prefix}{FILE}", content)
    else:
        write_bytes(folder / FILE, content)
    return Chosen(threshold, part, points, promise, calibration)


def _calibration(
    config: ThresholdConfig, parts: Mapping[str, pd.DataFrame], part: str
) -> dict[str, Any]:
    """Fits the map to probabilities; returns it with what it does to rows it was not fitted on."""
    found = calibrated(parts[part]["label"], parts[part]["probability"], config.calibration)
    told = {part: {"before": dict(found.before), "after": dict(found.after)}}
    if (test := parts.get("test")) is not None and test["label"].nunique() == 2:
        mapped = found.calibration(test["probability"])
        told["test"] = {
            "before": judged(test["label"], test["probability"]),
            "after": judged(test["label"], mapped),
        }
    return {**found.calibration.to_json(), "fitted_on": part, "metrics": told}


def _promised(
    config: ThresholdConfig,
    confidence: float,
    parts: Mapping[str, pd.DataFrame],
    part: str,
    summary: Mapping[str, Any],
) -> tuple[float, Promise]:
    """Returns a threshold with its promise, taken back where the rows to come are not like those it
    rests on: a classifier tells them apart, or the test rows refuse it."""
    rows, by = parts[part], config.guarantee_by
    if by is not None and (by not in rows or rows[by].isna().any()):
        way_out = {
            "group": "name the column of hosts or attack classes in data.group",
            "time": "split by time (data.timestamp=<column> data.split.kind=time)",
        }[by]
        raise DataError(
            f"guarantee_by={by} needs the {by} of every {part} row, but {config.run} does not have "
            f"it; {way_out} in the next run, or drop guarantee_by."
        )
    return promised_of(parts, part, summary, goal_of(config), confidence, by, config.shift)


def _read(summary: bytes | None) -> dict[str, Any]:
    """Returns the run's summary; empty where it has none that can be read."""
    try:
        found = json.loads(summary or b"{}")
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _place(run: str) -> StoreUri | str:
    try:
        return parse_store(run)
    except ValueError as error:
        raise ConfigError([f"`run`: {error}."]) from error


def _beside(best: Path, name: str) -> bytes | None:
    for folder in (best, best.parent):
        if (folder / name).is_file():
            return (folder / name).read_bytes()
    return None


def _parts(raw: bytes | None, run: str) -> dict[str, pd.DataFrame]:
    """Returns part -> its rows, 'val' first."""
    frame = None
    if raw is not None:
        try:
            whole = pd.read_parquet(io.BytesIO(raw))
            frame = whole[[*_COLUMNS, *(name for name in _FURTHER if name in whole)]]
        except Exception as error:  # whatever pyarrow makes of a damaged file
            raise DataError(
                f"the {_SCORES} of {run} must hold part, label and probability, but does not "
                f"({' '.join(str(error).split())[:120]}); give a run that is whole."
            ) from error
    if frame is None or not (frame["part"] == "val").any():
        raise DataError(
            f"{run} must have a {_SCORES} with the scores of validation rows, on which the "
            "threshold is chosen, but has none; give the folder of a finished sweep or train."
        )
    names = sorted(map(str, frame["part"].unique()), key=lambda part: (part != "val", part))
    return {part: frame[frame["part"] == part] for part in names}


def _print(console: Console, config: ThresholdConfig, chosen: Chosen) -> None:
    console.print(first_that_fits(console, _tables(config, chosen.threshold, chosen.points)))
    say(console, _basis(config, chosen))
    if chosen.promise is not None:
        say(console, chosen.promise.sentence)
    if config.calibration != "none":
        say(console, _probabilities(chosen.calibration))
    say(console, f"Saved with the model as {config.name!r}.")
    words = [config.run, "new.csv", "-o", "scored.csv"]
    if config.name != DEFAULT:
        words.append(override("threshold", config.name))
    words += as_words(config.plugins)
    say(console, f"next, with your rows for new.csv: {command('predict', *words)}")


def _tables(
    config: ThresholdConfig, threshold: float, points: Mapping[str, Mapping[str, Any]]
) -> Iterator[Table]:
    """Yields tables of what the threshold costs, each narrower than before: first the intervals are
    left out, then parts from the last; no digit is cut."""
    yield _table(config, threshold, points, is_bare=False)
    for n in range(len(points), 0, -1):
        yield _table(config, threshold, dict(list(points.items())[:n]), is_bare=True)


def _table(
    config: ThresholdConfig,
    threshold: float,
    points: Mapping[str, Mapping[str, Any]],
    *,
    is_bare: bool,
) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 1))
    table.add_column(f"at {threshold:.6g}", style="dim", no_wrap=True)
    for part in points:
        table.add_column({"val": "validation"}.get(part, part), justify="right", no_wrap=True)
    day = config.rows_per_day or 10_000.0
    per = "alerts a day" if config.rows_per_day else "alerts per 10,000 rows"
    table.add_row(per, *[_alerts(point, day, config.threat_ratio) for point in points.values()])
    found = [f"{p['found']:,} of {p['found'] + p['missed']:,}" for p in points.values()]
    table.add_row("found", *found)
    table.add_row("missed", *[f"{point['missed']:,}" for point in points.values()])
    table.add_row("false alerts", *[f"{point['false_alerts']:,}" for point in points.values()])
    for key in ("fpr", "recall", "precision"):
        name = {"fpr": "false-positive rate"}.get(key, key)
        table.add_row(name, *[_rate(point[key], is_bare) for point in points.values()])
    return table


def _alerts(point: Mapping[str, Any], rows: float, threat_ratio: float | None) -> str:
    if threat_ratio is None or point["fpr"] is None or point["recall"] is None:
        return f"{point['alerts'] / point['rows'] * rows:,.0f}"
    found, false = point["recall"]["value"], point["fpr"]["value"]
    return f"{(threat_ratio * found + (1.0 - threat_ratio) * false) * rows:,.0f}"


def _rate(rate: Mapping[str, float] | None, is_bare: bool) -> str:
    if rate is None:
        return "-"
    if is_bare:
        return f"{rate['value']:.4f}"
    return f"{rate['value']:.4f} ({rate['low']:.4f}-{rate['high']:.4f})"


def _probabilities(calibration: Mapping[str, Any]) -> str:
    """Returns a sentence about the calibration."""
    if (method := calibration["method"]) == "none":
        return (
            "Probabilities: the scores as they are. A map needs 20 rows of each class, and a lower "
            "log loss on rows that it was not fitted on."
        )
    told = [
        f"on {'rows it was not fitted on' if name != 'test' else 'test'} the calibration error is "
        f"{found['after']['ece']:.4f} (scores: {found['before']['ece']:.4f}) and the Brier score "
        f"{found['after']['brier']:.4f} ({found['before']['brier']:.4f})"
        for name, found in calibration["metrics"].items()
    ]
    return f"Probabilities: {method}; {'; '.join(told)}."


def _basis(config: ThresholdConfig, chosen: Chosen) -> str:
    """Returns a sentence about the rows that the choice rests on."""
    point = chosen.points[chosen.part]
    benign, threats = point["rows"] - point["found"] - point["missed"], point["found"]
    threats += point["missed"]
    high = 0.0 if point["fpr"] is None else point["fpr"]["high"]
    of_part = "" if chosen.part == "val" else f" of {chosen.part}"
    how = f"over {point['groups']:,} groups" if "groups" in point else "exact"
    text = (
        f"Chosen on {benign:,} benign rows and {threats:,} threats{of_part} (intervals: 95 %, "
        f"{how})."
    )
    if chosen.promise is None and config.max_fpr is not None and high > config.max_fpr:
        text += (
            f" So few benign rows leave a rate of up to {high:.2%} possible, above the "
            f"{config.max_fpr:.2%} asked for."
        )
    if config.threat_ratio is None and config.max_fpr is None and config.min_recall is None:
        text += (
            f" It supposes that {threats / (threats + benign):.1%} of the rows to come are threats "
            "as among these; say otherwise with threat_ratio=."
        )
    return text
