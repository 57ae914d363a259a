"""Makes W&B dashboards of a run's best trials: ``python -m jamba_ray.dashboard run=<run>``."""

from __future__ import annotations

import sys

from jamba_ray.cli.commands import DASHBOARD as COMMAND

# Above the other imports, which take seconds: help and mistakes need none of them.
if __name__ == "__main__":
    sys.exit(COMMAND.main())


import importlib.util

from rich.console import Console

from jamba_ray.config.command_line import command, override
from jamba_ray.config.direction import least_first
from jamba_ray.config.tracking import DashboardConfig
from jamba_ray.errors import ConfigError, ExitCode, UnavailableError
from jamba_ray.reports.answer import headline
from jamba_ray.reports.run import Run, find_run
from jamba_ray.runs.file_writes import write_json
from jamba_ray.tracking.follower import OutageError
from jamba_ray.tracking.wandb_dashboard import Dashboard, as_json, publish


def run(config: DashboardConfig, console: Console) -> ExitCode:
    """Writes ``dashboard.json`` and, with ``publish``, saves the workspace and the report in W&B.

    Raises:
        UnavailableError: W&B did not accept them.
        NoRunError: There is no such run.
    """
    found = Run(find_run(config.run, config.store))
    if found.study is None:
        raise ConfigError(
            [f"`run` must name a sweep, but {found.name!r} has no study. Give a sweep's run."]
        )
    tracking = found.config.get("tracking", {})
    board = Dashboard(
        run=found.name,
        project=config.project or tracking.get("project") or "jamba_ray",
        entity=config.entity or tracking.get("entity"),
        objective=found.objective,
        least_first=least_first(found.direction),
        parameters=[
            (path, bool(getattr(distribution, "log", False)))
            for path, distribution in found.study.distributions.items()
        ],
        answer=headline(found),
    )
    path = found.folder.path / "dashboard.json"
    try:
        spec = as_json(board)
        if spec is None and not config.publish:
            raise OutageError(
                "dashboards can be written to a file by the version of wandb-workspaces that "
                "`pip install 'jamba-ray[wandb]'` installs; `publish=true` works with this one"
            )
        if spec is not None:
            write_json(path, spec)
        addresses = publish(board) if config.publish else []
    except OutageError as error:
        raise UnavailableError(f"{error}. The run itself is whole.") from None
    for address in addresses:
        console.print(address, markup=False, highlight=False, soft_wrap=True)
    if spec is not None:
        console.print(f"Written to {path}", markup=False, highlight=False, soft_wrap=True)
    if not config.publish:
        given = {"run": str(found.folder.path), "project": config.project, "entity": config.entity}
        if importlib.util.find_spec("wandb_workspaces") is None:
            console.print("To publish it: pip install 'jamba-ray[wandb]'", markup=False)
            return ExitCode.OK
        words = [override(name, value) for name, value in given.items() if value is not None]
        console.print(
            f"Publish it: {command('sync', *words)} && "
            f"{command('dashboard', *words, 'publish=true')}",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
    return ExitCode.OK
