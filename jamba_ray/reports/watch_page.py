"""Writes ``watch.html``: what has changed in a window, and how it went before, in one file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from jamba_ray.reports.page import bullets, grid, html_page, html_table, prose, section
from jamba_ray.reports.svg import Figure, Plot, Scale

_COLUMNS = 30
_BARS = 16
Table = list[list[str]]


def render_watch(report: Mapping[str, Any], history: Sequence[Mapping[str, Any]]) -> str:
    """Returns the page about the window of ``watch.json``, with the windows before it."""
    figures = watch_figures(report, history)
    performance = report["performance"]
    parts = [
        f"<h1>watch {escape(report['model'])} · {escape(report['data'])}</h1>",
        f'<p class="answer">{prose(report["sentence"])}</p>',
        html_table(_about(report)),
        section("Findings", html_table(_findings(report))),
        section("What the labels say", _labels(report["labels"])),
        section(
            "Performance, estimated without labels",
            ""
            if performance is None
            else bullets([performance["sentence"]]) + html_table(_metrics(performance["metrics"])),
        ),
        section("What has changed", grid(figures, ["columns", "groups", "within"])),
        section("From window to window", grid(figures, ["alerts", "distance", "prior", "metric"])),
        section("Columns", html_table(_columns(report["columns"]))),
        section("Groups", html_table(_groups(report["groups"]))),
    ]
    return html_page(f"watch {report['model']}: {report['sentence']}", parts)


def watch_figures(
    report: Mapping[str, Any], history: Sequence[Mapping[str, Any]]
) -> dict[str, Figure]:
    """Returns the figures for which there are data, by name."""
    windows = [one for one in history if one.get("alert_share") is not None]
    found: dict[str, Figure | None] = {
        "columns": _column_bars(report["columns"]),
        "groups": _group_bars(report["groups"]),
        "within": _within(report["over_time"]),
        "alerts": _over_windows(
            windows, "Alerts", "share of rows", lambda one: _point(one["alert_share"])
        ),
        "distance": _over_windows(
            windows,
            "Change of the scores",
            "share of rows moved",
            lambda one: _point(one["score_distance"]),
        ),
        "prior": _over_windows(
            windows, "Estimated share of threats", "share", lambda one: one["prior"]
        ),
        "metric": _over_windows(
            windows,
            "Average precision, estimated without labels",
            "average precision",
            lambda one: (one["estimated"] or {}).get("average_precision"),
        ),
    }
    return {name: figure for name, figure in found.items() if figure is not None}


def _point(value: float | None) -> dict[str, float] | None:
    return None if value is None else {"value": value, "low": value, "high": value}


def _over_windows(
    windows: Sequence[Mapping[str, Any]], title: str, label: str, of: Any
) -> Figure | None:
    points = [(i, of(one), one) for i, one in enumerate(windows, 1)]
    points = [(i, found, one) for i, found, one in points if found is not None]
    if len(points) < 2:
        return None
    ends = [found[key] for _, found, _ in points for key in ("low", "high")]
    plot = Plot(Scale.of([i for i, _, _ in points], whole=True), Scale.of([0.0, *ends]))
    plot.line([(i, found["value"]) for i, found, _ in points], "s0")
    for i, found, one in points:
        told = [item["severity"] for item in one["findings"]]
        style = "bad" if "critical" in told else "s1" if "warning" in told else "s0"
        if found["high"] > found["low"]:
            plot.line([(i, found["low"]), (i, found["high"])], "grey")
        tip = f"window {i} ({one['data']}): {found['value']:.4g}"
        plot.dot(i, found["value"], style, tip)
    note = "Orange: with warnings; red: with critical findings. Bars: 95 % intervals."
    return plot.figure(title, "window", label, note)


def _column_bars(columns: Sequence[Mapping[str, Any]]) -> Figure | None:
    known = [one for one in columns if one["distance"] is not None]
    most = sorted(known, key=lambda one: -one["distance"])[:_BARS]
    bars = [
        (one["column"], one["distance"], "bad" if one["found"] else "grey", f"p = {one['p']:.2g}")
        for one in most
    ]
    note = "Red: no chance. Grey: chance may make it in a window of this size."
    return _bars(bars, "Columns: share of the rows that the change moves", note)


def _group_bars(groups: Sequence[Mapping[str, Any]]) -> Figure | None:
    bars = [
        (
            one["group"],
            one["alerts"]["value"],
            "bad" if one["found"] else "s0",
            f"{one['rows']:,} rows, {one['alerts']['low']:.3f} to {one['alerts']['high']:.3f}",
        )
        for one in groups[:_BARS]
    ]
    note = "Red: its scores have changed, beside those of the same group before."
    return _bars(bars, "Groups: share of the rows that are alerts", note)


def _bars(bars: Sequence[tuple[str, float, str, str]], title: str, note: str) -> Figure | None:
    if not bars:
        return None
    names = [name for name, *_ in reversed(bars)]
    height = 56 + 18 * len(bars)
    most = max(value for _, value, *_ in bars) or 1.0
    plot = Plot(Scale(0.0, most * 1.05), Scale.naming(names), left=130, height=height)
    for name, value, style, tip in bars:
        y = plot.py(name)
        plot.box(
            plot.px(0.0),
            y - 6,
            plot.px(value),
            y + 6,
            f"bar {style}",
            f"{name}: {value:.4g}; {tip}",
        )
    return plot.figure(title, "share of rows", "", note)


def _within(times: Sequence[Mapping[str, Any]]) -> Figure | None:
    if len(times) < 2:
        return None
    shares = [one["alerts"] / one["rows"] for one in times]
    scores = [one["mean_score"] for one in times]
    plot = Plot(Scale(0.0, len(times) - 1.0), Scale.of([0.0, *shares, *scores]))
    plot.legend([("s0", "alerts"), ("s1", "mean score")])
    plot.line(list(enumerate(shares)), "s0")
    plot.line(list(enumerate(scores)), "s1")
    for i, one in enumerate(times):
        plot.dot(i, shares[i], "s0", f"from {one['from']}: {one['alerts']:,} of {one['rows']:,}")
    ends = f"{times[0]['from']} to {times[-1]['from']}"
    return plot.figure("Within the window", ends, "share of rows; score")


def _about(report: Mapping[str, Any]) -> Table:
    window, reference = report["window"], report["reference"]
    rows = [["", ""], ["rows", f"{window['rows']:,}"]]
    if window["from"]:
        rows.append(["from, to (UTC)", f"{window['from']} to {window['to']}"])
    if window["alerts"] is not None:
        rows.append(["alerts", f"{window['alerts']:,} ({window['alert_share']:.3%})"])
    if window["alerts_per_day"] is not None:
        rows.append(["alerts a day", f"{window['alerts_per_day']:,.1f}"])
    rows.append(["threshold", f"{report['threshold']:.6g}"])
    if reference is not None:
        part = {"val": "validation"}.get(reference["part"], reference["part"])
        rows.append(["held against", f"{reference['rows']:,} {part} rows of the run"])
    if (prior := report["prior"]) is not None:
        rows.append(
            [
                "share of threats",
                f"{prior['value']:.4f} ({prior['low']:.4f} to {prior['high']:.4f}); "
                f"{prior['before']:.4f} in the reference",
            ]
        )
    if (told := report["rows"]) is not None:
        auc = told["roc_auc"]
        rows.append(
            [
                "told apart with ROC AUC",
                f"{auc['value']:.3f} ({auc['low']:.3f} to {auc['high']:.3f})",
            ]
        )
    rows.append(["chance of any false finding", f"{report['alpha']:.3g}"])
    return rows


def _findings(report: Mapping[str, Any]) -> Table:
    rows = [["severity", "what", "p"]]
    for one in report["findings"]:
        rows.append(
            [one["severity"], one["sentence"], "" if one["p"] is None else f"{one['p']:.2g}"]
        )
    return rows


def _metrics(metrics: Mapping[str, Mapping[str, float]]) -> Table:
    rows = [["metric", "value", "95 % interval"]]
    for name, one in metrics.items():
        ends = f"{one['low']:.4f} to {one['high']:.4f}"
        rows.append([name.replace("_", " "), f"{one['value']:.4f}", ends])
    return rows


def _labels(labels: Mapping[str, Any] | None) -> str:
    if labels is None:
        return ""
    said = [f"{labels['rows']:,} rows have a label, {labels['threats']:,} of them are threats."]
    if labels["unfair_p"] is not None:
        said.append(
            f"They are no fair draw of the window (p = {labels['unfair_p']:.2g}), so nothing is "
            "said by them."
        )
    if (promise := labels["promise"]) is not None:
        said.append(
            f"Promise of at most {promise['limit']:.3%}: {promise['wrong']:,} of "
            f"{promise['rows']:,} rows; {'refused' if promise['refuted'] else 'not refused'}."
        )
    anytime = {f"{name}, all windows": one for name, one in labels["any_time"].items()}
    return bullets(said) + html_table(_metrics({**labels["metrics"], **anytime}))


def _columns(columns: Sequence[Mapping[str, Any]]) -> Table:
    rows = [["column", "changed", "moves", "p", "PSI", "PSI by chance", "missing", "never seen"]]
    order = sorted(columns, key=lambda one: (not one["found"], -(one["distance"] or 0.0)))
    for one in order[:_COLUMNS]:
        rows.append(
            [
                one["column"],
                "yes" if one["found"] else "no",
                *(_cell(one[key]) for key in ("distance", "p", "psi", "psi_by_chance")),
                *(_share(one[key]) for key in ("missing", "unseen")),
            ]
        )
    return rows


def _groups(groups: Sequence[Mapping[str, Any]]) -> Table:
    rows = [["group", "rows", "alerts", "mean score", "held against", "moves", "p"]]
    for one in groups:
        alerts = one["alerts"]
        rows.append(
            [
                one["group"],
                f"{one['rows']:,}",
                f"{alerts['value']:.3f} ({alerts['low']:.3f} to {alerts['high']:.3f})",
                _cell(one["mean_score"]),
                one["held_against"],
                _cell(one["distance"]),
                _cell(one["p"]),
            ]
        )
    return rows


def _cell(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"


def _share(one: Mapping[str, Any] | None) -> str:
    if one is None:
        return "–"
    return f"{one['value']:.2%}{' (found)' if one['found'] else ''}"
