"""Watches what a model scores: ``jamba-ray watch``."""

from __future__ import annotations

import sys

from jamba_ray.cli.commands import WATCH as COMMAND

# Above the other imports, which take seconds: help and mistakes need none of them.
if __name__ == "__main__":
    sys.exit(COMMAND.main())

import signal
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from jamba_ray import __version__
from jamba_ray.cli.entry import say, show_error
from jamba_ray.cli.phases import Phases
from jamba_ray.config.watch import WatchConfig, seconds_of
from jamba_ray.errors import ExitCode, JambaError
from jamba_ray.evaluation.asked import ask
from jamba_ray.reports.watch_page import render_watch
from jamba_ray.runs.file_writes import write_bytes, write_json
from jamba_ray.watching.alert_file import read_rules
from jamba_ray.watching.asked_rows import write_asked
from jamba_ray.watching.findings import CONCEPT
from jamba_ray.watching.history import History, locked
from jamba_ray.watching.labelled import Labelled, state_of
from jamba_ray.watching.outbox import tell
from jamba_ray.watching.prometheus_text import exposition
from jamba_ray.watching.watched import VERSION, Asked, watched
from jamba_ray.watching.watched_model import WatchedModel, opened_model
from jamba_ray.watching.window import Window, read_window

_SHOWN = 12


def run(config: WatchConfig, console: Console) -> ExitCode:
    """Watches once, or again and again; ``FOUND`` where the last window has findings."""
    with Phases(console) as phases:
        phases.begin("reading the model", is_brief=True)
        model = opened_model(config.model, config.plugins, config.registry)
        output = Path(config.output or f"watch/{model.name}")
    if config.every is None:
        with locked(output):
            return _once(config, model, output, console)
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    code = ExitCode.OK
    with locked(output):
        while not stopped.is_set():
            begun = time.monotonic()
            try:
                code = _once(config, model, output, console)
            except JambaError as error:  # of this window alone: the next one may be whole
                show_error(Console(stderr=True), error)
                code = error.exit_code
            stopped.wait(max(0.0, seconds_of(config.every) - (time.monotonic() - begun)))
    return code


def _once(config: WatchConfig, model: WatchedModel, output: Path, console: Console) -> ExitCode:
    begun, now = time.monotonic(), time.time()
    predictor = model.predictor
    threshold, _ = predictor.threshold_of(config.threshold)
    history = History(output)
    rules = None if config.rules is None else read_rules(config.rules)
    with Phases(console) as phases:
        phases.begin(f"scoring {config.data.path}")
        window = read_window(
            predictor,
            config.data.path,
            config.data.columns,
            labels=config.labels,
            timestamp=config.data.timestamp,
            timestamp_format=config.data.timestamp_format,
            group=config.data.group,
        )
        phases.begin(f"holding {len(window):,} rows against {len(model.reference):,}")
        before = history.read()
        again = next((i for i, one in enumerate(before) if one["id"] == window.identity), None)
        asked = Asked(
            config.alpha,
            config.min_effect,
            None if config.max_age is None else seconds_of(config.max_age),
            now,
        )
        found, labels = watched(
            model,
            window,
            threshold,
            predictor.promise_of(config.threshold),
            asked,
            before[:again],
        )
        phases.begin("writing what was found", is_brief=True)
        told = any(one["severity"] != "info" for one in found["findings"])
        report = {
            "version": VERSION,
            "model": model.name,
            "made_by": __version__,
            "time_s": now,
            "status": "found" if told else "nothing_found",
            "exit_code": int(ExitCode.FOUND if told else ExitCode.OK),
            "threshold": threshold,
            "alpha": config.alpha,
            "data": config.data.path,
            **found,
            "asked": _asked(config, model, window, threshold, output),
            "seconds": time.monotonic() - begun,
        }
        if again is None:
            history.append(_record(report, labels, threshold))
        write_bytes(output / "watch.html", render_watch(report, history.read()).encode())
        write_bytes(output / "watch.prom", exposition(report).encode())
        write_json(output / "watch.json", report)
    _print(console, report, output)
    if rules is not None:
        for sentence in tell(rules, report, output, now):
            say(console, sentence)
    return ExitCode.FOUND if told else ExitCode.OK


def _asked(
    config: WatchConfig, model: WatchedModel, window: Window, threshold: float, output: Path
) -> dict[str, Any] | None:
    """Writes the rows to label; None where none is asked for, or the rows have labels."""
    if not config.ask or window.label is not None or window.asked is not None:
        return None
    chance = window.score if model.calibration is None else model.calibration(window.score)
    drawn = ask(chance, window.score >= threshold, config.ask)
    target = output / "to_label.csv"
    n = write_asked(target, config.data.path, config.data.columns, drawn, window.score)
    return {"file": str(target), "rows": n} if n else None


def _record(report: Mapping[str, Any], labels: Labelled | None, threshold: float) -> dict[str, Any]:
    """Returns what the history keeps of a window."""
    window, performance = report["window"], report["performance"] or {}
    return {
        "id": window["id"],
        "time_s": report["time_s"],
        "data": report["data"],
        "rows": None if window["asked"] else window["rows"],
        "alert_share": window["alert_share"],
        "alerts_per_day": window["alerts_per_day"],
        "from": window["from"],
        "to": window["to"],
        "score_distance": (report["score"] or {}).get("distance"),
        "score_found": (report["score"] or {}).get("found"),
        "prior": report["prior"],
        "estimated": performance.get("metrics"),
        "measured": (report["labels"] or {}).get("metrics"),
        "columns": {one["column"]: one["distance"] for one in report["columns"] if one["found"]},
        "findings": [
            {"key": one["key"], "severity": one["severity"]} for one in report["findings"]
        ],
        "state": None if labels is None else state_of(labels, threshold),
    }


def _print(console: Console, report: Mapping[str, Any], output: Path) -> None:
    say(console, report["sentence"])
    for one in report["findings"][:_SHOWN]:
        say(console, f"  {one['severity']}: {one['sentence']}")
    if (more := len(report["findings"]) - _SHOWN) > 0:
        say(console, f"  and {more} more in {output / 'watch.html'}")
    if report["labels"] is not None:
        say(console, _labels_line(report["labels"]))
    elif report["performance"] is not None:
        say(console, _estimate_line(report["performance"]))
    if report["asked"] is not None:
        say(
            console,
            f"{report['asked']['rows']:,} rows whose labels would say most are in "
            f"{report['asked']['file']}: fill in `label`, then watch that file with labels=label.",
        )
    say(console, f"Written to {output / 'watch.html'} and watch.json.")


def _estimate_line(performance: Mapping[str, Any]) -> str:
    shown = [
        f"{name.replace('_', ' ')} {one['value']:.3f} ({one['low']:.3f} to {one['high']:.3f})"
        for name, one in performance["metrics"].items()
    ]
    said = performance["sentence"].removesuffix(f" {CONCEPT}")  # the answer ends with it already
    return f"{said}{' ' if shown else ''}{'; '.join(shown)}"


def _labels_line(labels: Mapping[str, Any]) -> str:
    if labels["unfair_p"] is not None:
        return (
            f"{labels['rows']:,} labelled rows are no fair draw of the window (p = "
            f"{labels['unfair_p']:.2g}), so nothing is said by them: label the rows that are asked "
            "for, or a draw by chance."
        )
    shown = [
        f"{name.replace('_', ' ')} {one['value']:.4f} ({one['low']:.4f} to {one['high']:.4f})"
        for name, one in labels["metrics"].items()
    ]
    return f"By {labels['rows']:,} labels ({labels['threats']:,} threats): {'; '.join(shown)}."
