"""Writes ``report.html``: one file without a network, the result first."""

from __future__ import annotations

import base64
import hashlib
import re
import time
from collections.abc import Sequence
from html import escape
from pathlib import Path

import yaml

from jamba_ray.config.command_line import command, override
from jamba_ray.config.direction import direction_of, least_first
from jamba_ray.reports import answer
from jamba_ray.reports.compare import (
    analyze_parameter_impact,
    opened,
    plot_learning_curves,
    plot_run_comparison,
)
from jamba_ray.reports.compare import table as runs_table
from jamba_ray.reports.data_section import data_tables
from jamba_ray.reports.feature_table import feature_table
from jamba_ray.reports.operating_points import operating_table, promises
from jamba_ray.reports.run import Run
from jamba_ray.reports.svg import DARK, STYLE, Figure
from jamba_ray.reports.trials_table import trials_table
from jamba_ray.reports.words import names_of

_SHOWN = 12
"""Trials that are listed without a click."""
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_INTERVAL = re.compile(r"\[.*?\]|\(.*?\)|per [\d,]+ rows|a day|-?[\d.]+ to -?[\d.]+$")
_LONG = 40
"""Cells of more characters may take several lines."""
_NBSP = "\N{NO-BREAK SPACE}"
_CSS = """
:root{color-scheme:light dark;--page:#fff;--ink:#222a33;--dim:#5c6873;--grid:#e3e7eb;--soft:#f5f7f9;
--accent:#1f66c1}
@media(prefers-color-scheme:dark){:root{DARK--soft:#1a2027;--accent:#6ea8f0}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;overflow-wrap:anywhere}
main{max-width:1080px;margin:0 auto;padding:20px 18px 60px}
h1{font-size:1.05rem;color:var(--dim);font-weight:500;margin:0 0 2px}
h2{font-size:1.15rem;margin:38px 0 10px;border-top:1px solid var(--grid);padding-top:14px}
.answer{font-size:1.45rem;line-height:1.3;font-weight:600;margin:0 0 10px;max-width:46em;
text-wrap:balance}
.says{margin:0 0 6px;padding-left:1.1em;max-width:60em}
.chips{display:flex;flex-wrap:wrap;gap:6px;margin:12px 0}
.chips span{background:var(--soft);border-radius:6px;padding:2px 9px;font-size:.9rem}
.chips b{font-weight:600}
.grid{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,400px),1fr));
gap:26px 30px}
figure{margin:0;break-inside:avoid;min-width:0}
figure.wide{grid-column:1/-1;overflow-x:auto}
figure svg.jr{width:100%}
figure.wide svg.jr{width:auto;max-width:none}
figcaption{font-weight:600;font-size:.95rem;margin-bottom:2px}
figure p{margin:2px 0 0;font-size:.82rem;color:var(--dim)}
.scroll{margin:0 0 14px;overflow-x:auto;overflow-wrap:normal;
background:linear-gradient(90deg,var(--page) 30%,
transparent) 0 0/24px 100% no-repeat local,linear-gradient(270deg,var(--page) 30%,transparent)
100% 0/24px 100% no-repeat local,linear-gradient(90deg,var(--grid),transparent) 0 0/10px 100%
no-repeat scroll,linear-gradient(270deg,var(--grid),transparent) 100% 0/10px 100% no-repeat scroll}
table{border-collapse:collapse;font-size:.88rem;font-variant-numeric:tabular-nums}
th,td{text-align:left;padding:4px 16px 4px 0;border-bottom:1px solid var(--grid);vertical-align:top}
th{color:var(--dim);font-weight:500;white-space:nowrap}td{white-space:nowrap}
.long{white-space:normal;min-width:14em;max-width:28em;overflow-wrap:anywhere}
td:first-child{white-space:normal}td.whole{white-space:nowrap!important}
pre{background:var(--soft);padding:10px 12px;border-radius:6px;font-size:.82rem;
white-space:pre-wrap;margin:6px 0}
code{background:var(--soft);border-radius:4px;padding:0 3px;font-size:.88em}
details{margin:8px 0}summary{cursor:pointer;color:var(--accent)}
footer{margin-top:40px;color:var(--dim);font-size:.82rem}
@media(max-width:600px){main{padding:14px 14px 40px}.answer{font-size:1.2rem}body{font-size:14px}
td{white-space:normal}th,td{padding-right:12px}}
.step{break-inside:avoid}
@media print{.screen{display:none}.scroll{background:none}
:root{color-scheme:light}main{max-width:none;padding:0}pre{font-size:.7rem}
details{display:none}.grid{grid-template-columns:1fr 1fr;gap:14px}h2{break-after:avoid}}
"""
_INTERACTIVE_CSS = """
.filter{display:flex;flex-wrap:wrap;gap:8px 18px;align-items:center;margin:0 0 8px;font-size:.9rem}
.filter input{width:13em}.filter input,.filter select,button{font:inherit;color:inherit;
background:var(--soft);border:1px solid var(--grid);border-radius:6px;padding:3px 8px}
button{cursor:pointer}output{color:var(--dim)}
th button{border:0;background:none;padding:0;color:inherit;text-align:left}
th button:after{content:" ↕";opacity:.4}th[aria-sort] button:after{opacity:1}
th[aria-sort=ascending] button:after{content:" ↑"}
th[aria-sort=descending] button:after{content:" ↓"}
.tall{max-height:34em;overflow-y:auto}.tall thead th{position:sticky;top:0;background:var(--page)}
.reset{font-size:.8rem;font-weight:400;margin-left:10px;padding:0 7px}
svg.jr.zooms{cursor:crosshair}svg.jr .hit{fill:transparent;cursor:ns-resize;touch-action:none}
svg.jr .brush{fill:var(--s1);opacity:.35}svg.jr .zoom{fill:var(--accent);opacity:.2}
svg.jr .off{opacity:.07}svg.jr .lit{stroke:var(--s1);stroke-width:3}
@media print{.tall{max-height:none}th button:after{content:""}}
"""


def render(run: Run, *, interactive: bool = False) -> str:
    """Returns the report of one run in its present state as an HTML page.

    ``interactive``: with a script that sorts, filters, zooms and brushes; else without a script.
    """
    figures = run.figures()
    command = run.summary.get("command", "sweep" if run.study is not None else "train")
    parts = [
        f"<h1>{escape(str(command))} {escape(run.name)} · {escape(answer.status_of(run))}</h1>",
        f'<p class="answer">{prose(answer.headline(run))}</p>',
        bullets(answer.sentences(run)),
        _chips(answer.winner_parameters(run)),
        html_table(operating_table(run)),
        bullets(promises(run)),
        html_table(answer.metrics_table(run)),
        section(
            "What the winner does",
            grid(figures, ["precision_recall", "roc", "calibration", "confusion", "groups"]),
        ),
        section("What the winner relies on", _features(run, figures)),
        section("The data", "".join(map(html_table, data_tables(run.summary.get("data") or {})))),
        section(
            "The search",
            grid(figures, ["front", "history", "curves", "importance", "timeline", "parallel"]),
        ),
        section("The trials", _trials(run, interactive)),
        section(
            "What each parameter does",
            grid(figures, ["contour", *(n for n in figures if n.startswith("slice "))]),
        ),
        section("Failures", html_table(answer.failures_table(run))),
        section("Cost", html_table(answer.cost_table(run))),
        _notes(run),
        section("Reproduce and go on", _commands(run)),
        section("Environment", html_table(answer.environment_table(run))),
        section("Configuration", _config(run), on_paper=False),
    ]
    return html_page(f"{run.name}: {answer.headline(run)}", parts, _script() if interactive else "")


def render_comparison(runs: Sequence[Run], metric: str | None = None) -> str:
    """Returns a page that compares several runs, by ``metric`` or each by its own objective."""
    chosen = opened(runs)
    found = runs_table(chosen, metric)
    best = get_ranked(chosen, metric)
    impact = analyze_parameter_impact(chosen, metric)
    columns = ["run", "command", "model", "metric", "value", "test", "trials", "seconds"]
    rows = [[_cell(row[c]) for c in columns] for _, row in found.iterrows()]
    impact_rows = [[_cell(v) for v in row] for row in impact.itertuples(index=False)]
    figures = {
        "comparison": plot_run_comparison(chosen, metric),
        "curves": plot_learning_curves(chosen),
    }
    parts = [
        f"<h1>{len(chosen)} runs compared</h1>",
        f'<p class="answer">{escape(best)}</p>',
        html_table([columns, *rows]),
        section("Side by side", grid(figures, list(figures))),
        section(
            "What differed, and what it did",
            html_table([list(impact.columns), *impact_rows]) if impact_rows else "",
        ),
    ]
    return html_page(best, parts)


def get_ranked(runs: Sequence[Run], metric: str | None = None) -> str:
    """Says in one sentence which of the runs leads."""
    found = runs_table(runs, metric).dropna(subset=["value"])
    metrics = sorted(set(found["metric"]))
    if found.empty:
        return "None of these runs has a result yet."
    if len(metrics) > 1:
        return f"These runs were chosen by different metrics ({', '.join(metrics)})."
    ranked = found.sort_values("value", ascending=least_first(direction_of(metrics[0])))
    first = ranked.iloc[0]
    return f"{first['run']} is ahead with {metrics[0]} {first['value']:.4f} on its validation rows."


def html_page(title: str, parts: Sequence[str], script: str = "") -> str:
    """Returns a whole page of these parts: no outside request, and no script but this one."""
    made = time.strftime("%Y-%m-%d %H:%M")
    css = _CSS.replace("DARK", DARK) + (_INTERACTIVE_CSS if script else "")
    # The browser accepts exactly this style and this script.
    style = f"{STYLE}{css}"
    allowed = f"style-src {_digest(style)}; " + (
        f"script-src {_digest(script)}; " if script else ""
    )
    hint = "Point at a mark to read its numbers."
    if script:
        hint += " Drag over a figure to zoom, twice click to see it whole; drag along an axis of "
        hint += "the parallel coordinates to keep the trials of a range."
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        # Nothing may be fetched: reports are read on machines without a network.
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        f"{allowed}img-src data:; base-uri 'none'; form-action 'none'\">"
        f'<link rel="icon" href="data:,"><title>{escape(title)}</title>'
        f"<style>{style}</style></head><body><main>"
        + "".join(parts)
        + f"<footer>Made by jamba_ray, {made}."
        f'<span class="screen"> {hint}</span></footer></main>'
        + (f"<script>{script}</script>" if script else "")
        + "</body></html>\n"
    )


def _digest(text: str) -> str:
    """Returns the source by which a Content-Security-Policy allows exactly this text."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _script() -> str:
    return Path(__file__).with_name("interactive.js").read_text(encoding="utf-8")


def section(title: str, content: str, *, on_paper: bool = True) -> str:
    """Returns a section with its heading; nothing where it is empty."""
    if not content:
        return ""
    shown = "" if on_paper else ' class="screen"'
    return f"<section{shown}><h2>{escape(title)}</h2>{content}</section>"


def bullets(sentences: Sequence[str]) -> str:
    """Returns sentences as a list."""
    if not sentences:
        return ""
    return '<ul class="says">' + "".join(f"<li>{prose(s)}</li>" for s in sentences) + "</ul>"


def prose(sentence: str) -> str:
    """Returns a sentence as HTML: `code` in backquotes as code, and no line break before a percent
    sign."""
    pieces = escape(sentence.replace(" %", f"{_NBSP}%")).split("`")
    return "".join(f"<code>{p}</code>" if i % 2 else p for i, p in enumerate(pieces))


def _chips(values: dict[str, str]) -> str:
    if not values:
        return ""
    names = names_of(values)
    inner = "".join(
        f"<span>{escape(names[path])} <b>{escape(value)}</b></span>"
        for path, value in values.items()
    )
    return f'<div class="chips">{inner}</div>'


def html_table(rows: answer.Table) -> str:
    """Returns a table whose first row names the columns; nothing where it is alone."""
    if len(rows) < 2:
        return ""
    head = "".join(map(_th, rows[0]))
    body = "".join("<tr>" + "".join(map(_td, row)) + "</tr>" for row in rows[1:])
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div class="scroll">{table}</div>'


def _th(cell: str) -> str:
    return f"<th{' class=long' if len(cell) > _LONG else ''}>{escape(cell)}</th>"


def _td(cell: str) -> str:
    if len(cell) > _LONG:
        return f"<td class=long>{escape(cell)}</td>"
    if _DATE.match(cell):
        return f"<td class=whole>{escape(cell)}</td>"
    # Where a value and its interval take two lines, the interval stays whole.
    return f"<td>{escape(_INTERVAL.sub(lambda found: found[0].replace(' ', _NBSP), cell))}</td>"


def grid(figures: dict[str, Figure], names: Sequence[str]) -> str:
    """Returns the figures of these names side by side."""
    shown = [figures[name] for name in names if name in figures]
    if not shown:
        return ""
    return '<div class="grid">' + "".join(_figure(figure) for figure in shown) + "</div>"


def _figure(figure: Figure) -> str:
    wide = ' class="wide"' if figure.width > 500 else ""
    note = f"<p>{prose(figure.note)}</p>" if figure.note else ""
    caption = f"<figcaption>{escape(figure.title)}</figcaption>"
    return f"<figure{wide}>{caption}{figure.svg()}{note}</figure>"


def _trials(run: Run, interactive: bool) -> str:
    """Returns the best trials and, behind a click, all of them; an interactive page lists all at
    once."""
    rows = trials_table(run)
    if interactive:
        whole = html_table(rows).replace("<table>", '<table class="trials">')
        return whole.replace('class="scroll"', 'class="scroll tall" tabindex="0"')
    if len(rows) - 1 <= _SHOWN:
        return html_table(rows)
    n = len(run.records)
    every = f"All {n:,} trials" if n < len(rows) else f"The first {len(rows) - 1:,} of {n:,} trials"
    best = html_table(rows[: _SHOWN + 1])
    return f"{best}<details><summary>{every}</summary>{html_table(rows)}</details>"


def _features(run: Run, figures: dict[str, Figure]) -> str:
    if "features" not in figures:
        return ""
    table = html_table(feature_table(run.summary.get("feature_importance")))
    return f'<div class="grid">{_figure(figures["features"])}{table}</div>'


def _notes(run: Run) -> str:
    return section("Notes", bullets([str(note) for note in run.summary.get("notes", [])]))


def _commands(run: Run) -> str:
    found: list[tuple[str, str]] = []
    if (again := answer.reproduce_command(run)) is not None:
        found.append(("Train the best trial again, alone:", again))
    if run.folder.best.exists() or (run.copy_of is not None and run.summary.get("best")):
        scoring = [run.place, "new.csv", "-o", "scored.csv", "explain=3"]
        found.append(
            (
                "Score rows without labels, with the columns that push each alert:",
                command("predict", *scoring),
            )
        )
        found.append(
            (
                "Judge it on labelled rows of your own, in place of NEW_ROWS.csv:",
                answer.evaluate_command(run.place),
            )
        )
    if run.study is not None and run.copy_of is None:
        found.append(
            (
                "Look at the study live (with the `dashboard` extra):",
                answer.dashboard_command(run.folder),
            )
        )
    found.append(("Make this report again:", command("report", override("run", run.place))))
    return "".join(
        f'<div class="step">{prose(words)}<pre>{escape(line)}</pre></div>' for words, line in found
    )


def _config(run: Run) -> str:
    text = yaml.safe_dump(run.config, sort_keys=False, allow_unicode=True)
    return f"<details><summary>config.yaml</summary><pre>{escape(text)}</pre></details>"


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "–" if value != value else f"{value:.4f}" if abs(value) < 100 else f"{value:.0f}"
    return "–" if value is None else str(value)
