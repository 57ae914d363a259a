"""Writes the report as files in the run folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jamba_ray.reports import markdown, page
from jamba_ray.reports.run import Run
from jamba_ray.runs.file_writes import write_bytes


def write_report(run: Run, *, interactive: bool | None = None) -> Path:
    """Writes ``report.html`` and ``report.md`` of the run's present state; returns the former's
    path.

    ``interactive``: whether the page has a script; None: as the run's configuration says.

    Raises:
        StorageError: The run cannot be read, or the disk refuses the files.
    """
    if interactive is None:
        interactive = bool((run.config.get("report") or {}).get("interactive"))
    write_bytes(run.folder.report, page.render(run, interactive=interactive).encode())
    write_bytes(run.folder.report.with_suffix(".md"), markdown.render(run).encode())
    return run.folder.report


def write_comparison(runs: Sequence[Run], path: Path, metric: str | None = None) -> Path:
    """Writes a comparison of the runs as one HTML file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, page.render_comparison(runs, metric).encode())
    return path
