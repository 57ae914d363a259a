"""Prints the summary of a run on the terminal: the result first, then its details."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from jamba_ray.config.tracking import title_of
from jamba_ray.reports.rivals import baseline_of, rival_sentences
from jamba_ray.reports.words import (
    LABELS,
    MINOR,
    duration,
    front_in_words,
    labelled,
    params_in_words,
    search_in_words,
    size_in_words,
    trial_in_words,
)


def print_summary(console: Console, summary: Mapping[str, Any]) -> None:
    """Prints ``summary.json`` (``docs/reference/run-folder.md`` has its keys)."""
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
    trial = trial_in_words(best.get("trial", 0), best.get("origin"))
    what = f"trial {trial}" if summary["command"] == "sweep" else summary["run"]
    team = summary.get("team") or {}
    if team.get("used"):
        what = f"a team of {size_in_words(team['members'])}, the best of them {trial}"
    console.print(
        f"[bold green]{title}:[/] [bold]{escape(what)}[/]  {escape(_params(best['params']))}"
    )
    _say(console, _chosen_on(summary, best))
    for sentence in (summary.get("cv") or {}).get("sentences", []):
        _say(console, sentence)
    if team:
        _say(console, team["sentence"])
    for sentence in (summary.get("certification") or {}).get("sentences", []):
        _say(console, sentence)
    if front := summary.get("front"):
        _say(console, front_in_words(front))
    console.print(first_that_fits(console, _metric_tables(summary, best)))
    if expected := best.get("expected"):
        _say(console, expected["sentence"])
    for sentence in rival_sentences(summary, "test" if best.get("test") else "validation"):
        _say(console, sentence)
    if (bayes := summary.get("bayes")) and (limit := bayes.get("test") or bayes.get("val")):
        scored = best.get("test") or best["val"]
        gap = limit["average_precision"] - scored["average_precision"]["value"]
        _say(
            console,
            f"{gap:.4f} of average precision below the Bayes limit of this data "
            f"({limit['average_precision']:.4f}), which no model can pass.",
        )
    if importance := summary.get("importance"):
        shares = ", ".join(f"{path} {share:.0%}" for path, share in importance.items())
        _say(console, f"What mattered: {shares}.")


def _say(console: Console, sentence: str, style: str = "") -> None:
    """Prints an indented sentence; on a terminal its lines end between words."""
    text = Text(sentence, style=style)
    wraps = console.is_terminal
    console.print(
        Padding(text, (0, 0, 0, 2)) if wraps else Text("  ").append_text(text), soft_wrap=not wraps
    )


def _chosen_on(summary: Mapping[str, Any], best: Mapping[str, Any]) -> str:
    label = LABELS.get(summary["objective"], summary["objective"])
    if summary["command"] == "evaluate":
        what = best.get("threshold_is", "from training")
        return f"{best['rows']:,} labelled rows, threshold {best['threshold']:.3f} ({what})."
    epoch = _length(best)
    tested = "; the test rows were scored once, for this model" if best.get("test") else ""
    if summary.get("cv"):
        tested = "; the validation rows chose nothing but when its training ended" + tested
        return f"Chosen by its mean {label} over folds ({epoch}){tested}."
    return f"Chosen by {label} on validation rows ({epoch}){tested}."


def _length(best: Mapping[str, Any]) -> str:
    """Says at which epoch the weights were best, and when training ended."""
    epochs, at = best["epochs"], best.get("best_epoch")
    most = best.get("most_epochs")
    if at is not None and most is not None and epochs < most:
        return f"stopped after epoch {epochs:.3g} of at most {most:.4g}, best at {at:.3g}"
    if at is not None and at < epochs:
        return f"epoch {at:.3g} of {epochs:.3g}"
    return f"epoch {epochs:.3g}"


def _metric_tables(summary: Mapping[str, Any], best: Mapping[str, Any]) -> Iterator[Table]:
    """Yields tables of the metrics, each narrower than the one before; no digit is cut.

    First the intervals of validation and of extra tests are left out, then those of the baseline,
    then all; then columns: extra tests from the last, the limit, the baseline, validation.
    """
    columns: list[tuple[str, Mapping[str, Any]]] = []
    if best.get("val"):
        columns.append(("validation", best["val"]))
    if best.get("test"):
        columns.append(("test", best["test"]))
    extra = list(best.get("extra_tests", {}))
    columns += [(name, best["extra_tests"][name]) for name in extra]
    baseline_name = ""
    if baseline := summary.get("baseline"):
        where = "test" if baseline.get("test") else "val"
        columns.append((baseline_name := f"{baseline_of(summary)} {where}", baseline[where]))
    if bayes := summary.get("bayes"):
        where = "test" if bayes.get("test") else "val"
        columns.append(("limit", {key: {"value": value} for key, value in bayes[where].items()}))
    hidden = {*MINOR} - {summary["objective"]}
    columns = [(name, _without(scores, hidden)) for name, scores in columns]
    minor = {"validation", *extra} if best.get("test") else {*extra}
    for bare in ({*()}, minor, {*minor, baseline_name}, {name for name, _ in columns}):
        yield _metric_table(columns, bare)
    for name in [*reversed(extra), "limit", baseline_name, "validation"]:
        kept = [column for column in columns if column[0] != name]
        if kept and len(kept) < len(columns):
            columns = kept
            yield _metric_table(columns, {name for name, _ in columns})


def _without(scores: Mapping[str, Any], hidden: set[str]) -> Mapping[str, Any]:
    return {key: metric for key, metric in scores.items() if key not in hidden}


def _metric_table(columns: Sequence[tuple[str, Mapping[str, Any]]], bare: set[str]) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 1))
    has_intervals = any(name not in bare for name, _ in columns)
    table.add_column("95 % interval" if has_intervals else "", style="dim", no_wrap=True)
    for name, _ in columns:
        table.add_column(name, justify="right", no_wrap=True)
    for key, label in labelled(key for _, scores in columns for key in scores).items():
        if any(key in scores for _, scores in columns):
            table.add_row(
                label, *(_cell(scores.get(key), name in bare) for name, scores in columns)
            )
    return table


def first_that_fits(console: Console, tables: Iterable[Table]) -> Table:
    """Returns the first table that is no wider than the terminal, else the last."""
    for table in tables:
        found = table
        wide = console.options.update(max_width=10_000)
        if Measurement.get(console, wide, table).maximum <= console.width:
            break
    return found


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
    _say(console, f"{counts}{duration(summary['wall_s'])}{busy}.", "dim")
    search = summary.get("search")
    if search and (search["sampler"]["name"], search["pruner"]["name"]) != ("tpe", "asha"):
        _say(console, search_in_words(search), "dim")
    if budget := summary.get("budget"):
        _say(console, _budget(budget), "dim")
    console.print(
        f"  Everything is in {summary['folder']}", style="dim", highlight=False, soft_wrap=True
    )
    if report := summary.get("report"):
        console.print(f"  The report is [bold]{escape(report)}[/]", highlight=False, soft_wrap=True)
    for tracker, where in summary.get("tracking", {}).items():
        said = f"  {escape(title_of(tracker))}: [cyan]{escape(where)}[/]"
        console.print(said, highlight=False, soft_wrap=True)
    for command in summary.get("next", []):
        console.print(
            f"  [bold]next:[/] [cyan]{escape(command)}[/]", highlight=False, soft_wrap=True
        )


def _budget(budget: Mapping[str, Any]) -> str:
    """Formats ``Budget: 31 min 02 s of 2 h 00 min, 0.63 of 3.00 USD; forecast at the start
    ...``."""
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
