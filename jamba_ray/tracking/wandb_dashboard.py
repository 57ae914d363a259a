"""Creates W&B dashboards: a saved workspace and a W&B report on one run's trials."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jamba_ray.errors import one_line
from jamba_ray.tracking.follower import OutageError

TOP_CURVES = 10


@dataclass(frozen=True)
class Dashboard:
    """Holds the run, the objective and the parameters that the dashboards show."""

    run: str
    """The run's name: the W&B group of its trials."""
    project: str
    entity: str | None
    objective: str
    least_first: bool
    parameters: Sequence[tuple[str, bool]]
    """(dotted path, whether its axis is logarithmic)."""
    answer: str
    """The result in one sentence."""


def as_json(board: Dashboard) -> dict[str, Any] | None:
    """Returns both dashboards as W&B's own JSON, without a network and without a key.

    None: the installed ``wandb-workspaces`` can only publish them.

    Raises:
        OutageError: ``wandb-workspaces`` is not installed.
    """
    ws, wr = _libraries()
    workspace = _workspace(ws, wr, board)
    report = _report(wr, board, runsets=[])  # a run set cannot be serialised without a login
    try:
        # The only private name of W&B's in use: no public one gives the JSON without a network.
        models = {"workspace": workspace._to_model(), "report": report._to_model()}
    except AttributeError:
        return None
    return {name: json.loads(m.model_dump_json(by_alias=True)) for name, m in models.items()}


def publish(board: Dashboard) -> list[str]:
    """Saves both in W&B and returns their addresses.

    Raises:
        OutageError: W&B did not accept them, or ``wandb-workspaces`` is not installed.
    """
    ws, wr = _libraries()
    try:
        workspace = _workspace(ws, wr, board)
        workspace.save()
        runset = wr.Runset(
            entity=board.entity or "",
            project=board.project,
            name=board.run,
            filters=f"Group == '{board.run}' and JobType == 'trial'",
        )
        report = _report(wr, board, runsets=[runset])
        report.save()
    except Exception as error:
        raise OutageError(f"W&B did not take the dashboards ({one_line(error)})") from None
    return [str(workspace.url), str(report.url)]


def _workspace(ws: Any, wr: Any, board: Dashboard) -> Any:
    order = ws.Ordering(ws.Summary("objective"), ascending=board.least_first)
    columns = ["summary:objective", *(f"config:{_accessor(p)}" for p, _ in board.parameters[:6])]
    return ws.Workspace(
        entity=board.entity or "",
        project=board.project,
        name=f"{board.run}: best runs",
        sections=[
            ws.Section(name=name, panels=panels, is_open=True)
            for name, panels in _panels(wr, board).items()
        ],
        runset_settings=ws.RunsetSettings(
            filters=ws.And(ws.Metric("Group") == board.run, ws.Metric("JobType") == "trial"),
            order=[order],
            pinned_columns=columns,
        ),
    )


def _report(wr: Any, board: Dashboard, runsets: list[Any]) -> Any:
    blocks: list[Any] = [wr.P(text=board.answer)]
    for name, panels in _panels(wr, board).items():
        given = {"runsets": list(runsets)} if runsets else {}
        blocks += [wr.H2(text=name), wr.PanelGrid(panels=panels, **given)]
    return wr.Report(
        project=board.project,
        entity=board.entity or "",
        title=f"{board.run}: {board.objective}",
        description=board.answer,
        blocks=blocks,
    )


def _panels(wr: Any, board: Dashboard) -> dict[str, list[Any]]:
    """Returns the panels of each section, by its title."""
    value = f"val/{board.objective}"
    column = wr.ParallelCoordinatesPlotColumn
    axes = [column(wr.Config(path), log=log) for path, log in board.parameters]
    axes.append(column(wr.SummaryMetric("objective")))
    recalls = ["best/val/recall_at_fpr_1e-2", "best/val/recall_at_fpr_1e-3"]
    return {
        "Learning curves": [
            wr.LinePlot(title=value, x="epoch", y=[value], max_runs_to_show=TOP_CURVES),
            wr.LinePlot(
                title="train/loss", x="epoch", y=["train/loss"], max_runs_to_show=TOP_CURVES
            ),
        ],
        "Parameters": [
            wr.ParallelCoordinatesPlot(title="Parameters and objective", columns=axes),
            wr.ParameterImportancePlot(with_respect_to="objective"),
        ],
        "Recall at a fixed false-positive rate": [
            wr.BarPlot(title=name.removeprefix("best/val/"), metrics=[name]) for name in recalls
        ],
        "Cost": [
            wr.ScatterPlot(
                title="objective over seconds",
                x=wr.SummaryMetric("seconds"),
                y=wr.SummaryMetric("objective"),
            ),
            wr.BarPlot(title="rows seen", metrics=["rows_seen"]),
        ],
    }


def _accessor(path: str) -> str:
    first, _, rest = path.partition(".")
    return f"{first}.value.{rest}" if rest else f"{first}.value"


def _libraries() -> tuple[Any, Any]:
    try:
        # The deprecation warnings of the library do not concern a user.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import wandb_workspaces.reports.v2 as reports
            import wandb_workspaces.workspaces as workspaces
    except ImportError:
        raise OutageError(
            "dashboards need wandb-workspaces: `pip install 'jamba-ray[wandb]'`"
        ) from None
    return workspaces, reports
