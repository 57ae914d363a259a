"""Compares several runs: curves, metrics, best runs, the effect of a parameter.

Each function takes folders or ``Run`` objects. The function names are those that users know from
their notes.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd

from jamba_ray.config.direction import direction_of, least_first
from jamba_ray.config.params import flatten
from jamba_ray.reports.run import Run
from jamba_ray.reports.svg import Figure, Plot, Scale, fitted
from jamba_ray.reports.words import LABELS

_SERIES = 6
Runs = Sequence[Run | str | Path]


def opened(runs: Runs) -> list[Run]:
    """Returns folders as runs; raises NoRunError for a folder that is not a run."""
    return [run if isinstance(run, Run) else Run(run) for run in runs]


def runs_in(store: str | Path) -> list[Run]:
    """Returns every run below ``store``, by name."""
    return [Run(path.parent) for path in sorted(Path(store).glob("*/config.yaml"))]


def table(runs: Runs, metric: str | None = None) -> pd.DataFrame:
    """Returns one row per run.

    Columns: run, command, model, objective, metric, value (``metric`` on validation, of the best
    trial), test (the same on the test rows), trials, seconds, and ``params.*``.
    """
    rows: list[dict[str, Any]] = []
    for run in opened(runs):
        best = run.best
        key = metric or run.objective
        judged = run.summary.get("best") or {}
        value = best.metrics.get(f"val/{key}") if best is not None else None
        tested = (judged.get("test") or {}).get(key, {}).get("value")
        config = judged.get("config") or run.config
        rows.append(
            {
                "run": run.name,
                "command": run.summary.get("command", "sweep" if run.study else "train"),
                "model": config.get("model", {}).get("name"),
                "objective": run.objective,
                "metric": key,
                "value": value,
                "test": tested,
                "trials": len(run.records),
                "seconds": run.summary.get("wall_s"),
                **{
                    f"params.{path}": leaf
                    for section in ("model", "training")
                    for path, leaf in flatten(config.get(section, {}), f"{section}.").items()
                },
            }
        )
    return pd.DataFrame(rows)


def get_best_runs(runs: Runs | str | Path, metric: str = "roc_auc", top_n: int = 5) -> pd.DataFrame:
    """Returns the ``top_n`` best runs by a validation metric, best first; ``runs`` may be a
    store."""
    chosen = runs_in(runs) if isinstance(runs, (str, Path)) else opened(runs)
    found = table(chosen, metric)
    if found.empty:
        return found
    ascending = least_first(direction_of(metric))
    ranked = found.dropna(subset=["value"]).sort_values("value", ascending=ascending)
    return ranked.head(top_n).reset_index(drop=True)


def plot_learning_curves(runs: Runs) -> Figure:
    """Draws the objective over epochs for the best trial of each run."""
    chosen = opened(runs)[:_SERIES]
    series: list[tuple[str, list[tuple[object, object]]]] = []
    for run in chosen:
        trial = run.best or (run.records[0] if run.records else None)
        if trial is None or not trial.curve:
            continue
        unit = run.epochs_per_report or 1.0
        series.append((run.name, [(step * unit, value) for step, value in trial.curve]))
    points = [point for _, line in series for point in line]
    plot = Plot(
        Scale.of([0.0, *(float(x) for x, _ in points)], margin=0.02),  # type: ignore[arg-type]
        Scale.of([float(y) for _, y in points]),  # type: ignore[arg-type]
    )
    plot.legend([(f"s{i % _SERIES}", name) for i, (name, _) in enumerate(series)])
    for i, (name, line) in enumerate(series):
        plot.line(line, f"s{i % _SERIES} bold", name)
    objectives = {run.objective for run in chosen}
    label = LABELS.get(chosen[0].objective, "objective") if len(objectives) == 1 else "objective"
    return plot.figure("Learning curves", "epoch", label, "The best trial of each run.")


def plot_run_comparison(runs: Runs, metric: str | None = None) -> Figure:
    """Draws a dot with its 95 % interval per run, on the test rows where all runs have them."""
    chosen = opened(runs)
    key = metric or chosen[0].objective
    bests = [run.summary.get("best") or {} for run in chosen]
    part = "test" if all(key in (b.get("test") or {}) for b in bests) else "val"
    found: list[tuple[str, dict[str, float]]] = []
    for run, best in zip(chosen, bests, strict=True):
        if (interval := (best.get(part) or {}).get(key)) is not None:
            found.append((run.name, interval))
    row, left = 28, 138
    height = row * max(1, len(found)) + 46
    scale = Scale.of([i.get(end, i["value"]) for _, i in found for end in ("low", "high")])
    plot = Plot(scale, Scale(0, 1), 440, height, left, 14, 8, 38)
    for i, (name, interval) in enumerate(found):
        y = 8 + row * i + row / 2
        tip = f"{name}: {interval['value']:.4f}"
        if "low" in interval:
            tip += f" [{interval['low']:.4f}, {interval['high']:.4f}]"
            plot.parts.append(
                f'<line class="line s0" x1="{plot.px(interval["low"]):.1f}" '
                f'x2="{plot.px(interval["high"]):.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'
            )
        plot.parts.append(
            f'<circle class="dot s0" cx="{plot.px(interval["value"]):.1f}" cy="{y:.1f}" r="4.5">'
            f"<title>{escape(tip)}</title></circle>"
        )
        plot.text(left - 8, y + 4, fitted(name, left - 8), "r")
    for place, words in plot.x.ticks(4):
        plot.text(left + place * (440 - left - 14), height - 22, words, "dim c")
    where = "test rows" if part == "test" else "validation rows"
    plot.text((left + 426) / 2, height - 5, f"{LABELS.get(key, key)}, {where}", "dim c")
    note = "Dots with 95 % bootstrap intervals. Runs on different rows are not comparable."
    return Figure("Runs compared", "".join(plot.parts), 440, height, note)


def analyze_parameter_impact(runs: Runs, metric: str | None = None) -> pd.DataFrame:
    """Returns one row per parameter that differs between the trials.

    Columns: parameter, n_values, best and worst (mean ``metric`` of its best and worst value, by
    the metric's direction), spread (best to worst), rank_correlation (Spearman's, numbers only).

    All complete trials of all runs count. The table describes the trials that were run; other
    parameters may have varied at the same time, so it is a hint. The sweep's importance is the
    better measure.
    """
    tried: list[dict[str, Any]] = []
    measured = metric
    for run in opened(runs):
        measured = measured or run.objective
        key = f"val/{measured}"
        base = {
            path: leaf
            for section in ("model", "training")
            for path, leaf in flatten(run.config.get(section, {}), f"{section}.").items()
        }
        tried += [
            {**base, **t.params, "__value": t.metrics.get(key)}
            for t in run.records
            if t.state == "complete" and t.metrics.get(key) is not None
        ]
    found = pd.DataFrame(tried)
    least_is_best = least_first(direction_of(measured or ""))
    rows: list[dict[str, Any]] = []
    for path in [c for c in found.columns if c != "__value"]:
        column = found[path]
        if column.astype(str).nunique() < 2:
            continue
        means = found.groupby(column.astype(str))["__value"].mean()
        numbers = pd.to_numeric(column, errors="coerce")
        rank = float("nan")
        if numbers.notna().all() and len(found) > 2:
            rank = float(numbers.rank().corr(found["__value"].rank()))
        rows.append(
            {
                "parameter": path,
                "n_values": int(means.size),
                "best": float(means.min() if least_is_best else means.max()),
                "worst": float(means.max() if least_is_best else means.min()),
                "spread": float(means.max() - means.min()),
                "rank_correlation": rank,
            }
        )
    columns = ["parameter", "n_values", "best", "worst", "spread", "rank_correlation"]
    impact = pd.DataFrame(rows, columns=columns)
    return impact.sort_values("spread", ascending=False, ignore_index=True)
