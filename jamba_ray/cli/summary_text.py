"""The summary of a run on the terminal: the answer first, then what it rests on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from jamba_ray.reports.words import LABELS, difference_in_words, duration, params_in_words


def print_summary(console: Console, summary: Mapping[str, Any]) -> None:
    """Print ``summary.json`` (``docs/reference/run-folder.md`` has its keys)."""
    best = summary.get("best")
    console.print()
    if best is None:
        console.print(f"[bold red]No winner:[/] {escape(_counts(summary['trials']))}.")
    else:
        _print_winner(console, summary, best)
    _print_failures(console, summary.get("failures", []))
    for note in summary.get("notes", []):
        console.print(Text("note: ", style="yellow"), Text(note), sep="", soft_wrap=True)
    _print_whereabouts(console, summary)


def _print_winner(console: Console, summary: Mapping[str, Any], best: Mapping[str, Any]) -> None:
    title = "Winner" if summary["command"] == "sweep" else "Result"
    what = f"trial {best['trial']}" if summary["command"] == "sweep" else summary["run"]
    console.print(
        f"[bold green]{title}:[/] [bold]{escape(what)}[/]  {escape(_params(best['params']))}"
    )
    console.print(f"  {escape(_chosen_on(summary, best))}", highlight=False, soft_wrap=True)
    console.print(_metric_table(summary, best, console.width))
    if comparison := summary.get("comparison"):
        key = summary["objective"] if summary["objective"] in comparison else "average_precision"
        words = difference_in_words(comparison[key], "LightGBM with its defaults")
        where = "test" if best.get("test") else "validation"
        console.print(
            f"  {LABELS[key]} on {where}: {words}.", highlight=False, markup=False, soft_wrap=True
        )
    if (bayes := summary.get("bayes")) and (limit := bayes.get("test") or bayes.get("val")):
        scored = best.get("test") or best["val"]
        gap = limit["average_precision"] - scored["average_precision"]["value"]
        console.print(
            f"  {gap:.4f} of average precision below the Bayes limit of this data "
            f"({limit['average_precision']:.4f}), which no model can pass.",
            highlight=False,
            soft_wrap=True,
        )
    if importance := summary.get("importance"):
        shares = ", ".join(f"{path} {share:.0%}" for path, share in importance.items())
        console.print(f"  What mattered: {escape(shares)}.", highlight=False, soft_wrap=True)


def _chosen_on(summary: Mapping[str, Any], best: Mapping[str, Any]) -> str:
    label = LABELS.get(summary["objective"], summary["objective"])
    if summary["command"] == "evaluate":
        what = best.get("threshold_is", "from training")
        return f"{best['rows']:,} labelled rows, threshold {best['threshold']:.3f} ({what})."
    epoch = f"epoch {best['epochs']:.3g}"
    if (at := best.get("best_epoch")) is not None and at < best["epochs"]:
        epoch = f"epoch {at:.3g} of {best['epochs']:.3g}"
    tested = "; the test rows were scored once, for this model" if best.get("test") else ""
    return f"Chosen by {label} on validation rows ({epoch}){tested}."


def _metric_table(summary: Mapping[str, Any], best: Mapping[str, Any], width: int) -> Table:
    columns: list[tuple[str, Mapping[str, Any]]] = []
    if best.get("val"):
        columns.append(("validation", best["val"]))
    if best.get("test"):
        columns.append(("test", best["test"]))
    columns += [(name, scores) for name, scores in best.get("extra_tests", {}).items()]
    if baseline := summary.get("baseline"):
        where = "test" if baseline.get("test") else "val"
        columns.append((f"LightGBM {where}", baseline[where]))
    if bayes := summary.get("bayes"):
        where = "test" if bayes.get("test") else "val"
        columns.append(("limit", {key: {"value": value} for key, value in bayes[where].items()}))
    # With many columns on a narrow terminal only the decisive ones keep their intervals.
    is_narrow = width < 20 + 18 * sum("low" in next(iter(s.values()), {}) for _, s in columns)
    bare = {"validation", *best.get("extra_tests", {})} if is_narrow and best.get("test") else set()
    table = Table(box=None, padding=(0, 1, 0, 1))
    table.add_column("95 % interval", style="dim", no_wrap=True)
    for name, _ in columns:
        table.add_column(name, justify="right", no_wrap=True)
    for key, label in LABELS.items():
        if any(key in scores for _, scores in columns):
            table.add_row(
                label, *(_cell(scores.get(key), name in bare) for name, scores in columns)
            )
    return table


def _cell(metric: Mapping[str, float] | None, is_bare: bool) -> str:
    if metric is None:
        return "-"
    if is_bare or "low" not in metric:
        return f"{metric['value']:.4f}"
    low, high = (f"{metric[end]:.3f}".removeprefix("0") for end in ("low", "high"))
    return f"{metric['value']:.4f} [dim]{low}-{high}[/]"


def _print_failures(console: Console, failures: list[Mapping[str, Any]]) -> None:
    for failure in failures:
        trials = ", ".join(str(number) for number in failure["trials"][:8])
        more = ", ..." if len(failure["trials"]) > 8 else ""
        console.print(
            Text(f"{failure['count']} failed", style="red"),
            Text(f"(trial {trials}{more}): {failure['reason']}"),
            soft_wrap=True,
        )


def _print_whereabouts(console: Console, summary: Mapping[str, Any]) -> None:
    goodput = summary.get("goodput")
    busy = f", {goodput:.0%} of runner time in training steps" if goodput is not None else ""
    counts = f"{_counts(summary['trials'])}, " if summary["command"] == "sweep" else ""
    spent = f"  {counts}{duration(summary['wall_s'])}{busy}."
    console.print(spent, highlight=False, style="dim", soft_wrap=True)
    if budget := summary.get("budget"):
        console.print(f"  {_budget(budget)}", highlight=False, style="dim", soft_wrap=True)
    console.print(
        f"  Everything is in {summary['folder']}", style="dim", highlight=False, soft_wrap=True
    )
    if report := summary.get("report"):
        console.print(f"  The report is [bold]{escape(report)}[/]", highlight=False, soft_wrap=True)
    for command in summary.get("next", []):
        console.print(
            f"  [bold]next:[/] [cyan]{escape(command)}[/]", highlight=False, soft_wrap=True
        )


def _budget(budget: Mapping[str, Any]) -> str:
    """``Budget: 31 min 02 s of 2 h 00 min, 0.63 of 3.00 USD; forecast at the start ...``."""
    used = []
    if (hours := budget["hours"]) is not None:
        used.append(f"{duration(3600 * budget['spent_hours'])} of {duration(3600 * hours)}")
    if (usd := budget["usd"]) is not None:
        used.append(f"{budget['spent_usd']:.2f} of {usd:.2f} USD")
    names = {"start": "at the start", "first_rung": "after the first rung"}
    told = [
        f"{name} P50 {duration(3600 * found['p50'])}, P90 {duration(3600 * found['p90'])}"
        for when, name in names.items()
        if (found := budget["forecast_hours"].get(when))
    ]
    forecasts = f"; forecast {', '.join(told)}" if told else ""
    return f"Budget: {', '.join(used)}{' (used up)' if budget['used_up'] else ''}{forecasts}."


def _params(params: Mapping[str, Any]) -> str:
    return params_in_words(params, "  ")


def _counts(trials: Mapping[str, int]) -> str:
    total = sum(trials.values())
    parts = ", ".join(f"{count} {state}" for state, count in trials.items() if count)
    return f"{total} trial{'s' if total != 1 else ''}: {parts}" if total else "no trials"
