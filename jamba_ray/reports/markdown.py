"""Writes ``report.md``: the sentences and tables of the report as text, for a terminal or a
ticket."""

from __future__ import annotations

from jamba_ray.reports import answer
from jamba_ray.reports.data_section import data_tables
from jamba_ray.reports.feature_table import feature_table
from jamba_ray.reports.figures import importances
from jamba_ray.reports.operating_points import operating_table, promises
from jamba_ray.reports.run import Run
from jamba_ray.reports.trials_table import trials_table


def render(run: Run) -> str:
    """Returns the report of one run in its present state, without the figures."""
    lines = [f"# {run.name}: {answer.status_of(run)}", "", f"**{answer.headline(run)}**", ""]
    lines += [f"- {sentence}" for sentence in answer.sentences(run)]
    if parameters := answer.winner_parameters(run):
        lines += ["", ", ".join(f"`{path}` = {value}" for path, value in parameters.items())]
    lines += _table(operating_table(run))
    lines += [line for sentence in promises(run) for line in ("", sentence)]
    lines += _table(answer.metrics_table(run))
    if shares := importances(run):
        words = ", ".join(f"`{path}` {share:.0%}" for path, share in shares.items())
        lines += ["", "## What mattered", "", words]
    if tables := data_tables(run.summary.get("data") or {}):
        lines += ["", "## The data"]
        lines += [line for table in tables for line in _table(table)]
    for title, table in {
        "What the winner relies on": feature_table(run.summary.get("feature_importance")),
        "The best trials": trials_table(run, 20),
        "Failures": answer.failures_table(run),
        "Cost": answer.cost_table(run),
        "Environment": answer.environment_table(run),
    }.items():
        if len(table) > 1:
            lines += ["", f"## {title}", *_table(table)]
    if (again := answer.reproduce_command(run)) is not None:
        lines += ["", "## Train the best trial again", "", "```", again, "```"]
    return "\n".join(lines) + "\n"


def _table(rows: answer.Table) -> list[str]:
    if len(rows) < 2:
        return []
    marks = ["---"] * len(rows[0])
    return ["", *(f"| {' | '.join(_cells(row))} |" for row in [rows[0], marks, *rows[1:]])]


def _cells(row: list[str]) -> list[str]:
    return [cell.replace("|", "\\|").replace("\n", " ") for cell in row]
