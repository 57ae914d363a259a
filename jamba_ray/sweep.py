"""``python -m jamba_ray.sweep +sweep=attention_heads``: from a search space to a verified model."""

from __future__ import annotations

import sys
import time
from typing import Any

from rich.console import Console

from jamba_ray.commands import following, storing, summary, verdict
from jamba_ray.commands.composition import to_yaml
from jamba_ray.commands.display import Display
from jamba_ray.commands.entry import Command, default_run_name
from jamba_ray.commands.following import Following
from jamba_ray.commands.importance import importance
from jamba_ray.commands.log import RunLog
from jamba_ray.commands.plan import print_plan
from jamba_ray.commands.summary_text import print_summary
from jamba_ray.config.run import SweepConfig
from jamba_ray.config.space import SearchSpace
from jamba_ray.config.sweep_space import parse_space
from jamba_ray.data import prepare
from jamba_ray.data.prepared import PreparedData
from jamba_ray.errors import ConfigError, ExitCode, InterruptedRunError
from jamba_ray.launch.run_folder import RunFolder, write_bytes, write_json
from jamba_ray.search.records import SweepResult
from jamba_ray.search.sweep import run_sweep

ABOUT = "Search the hyperparameters of the threat model, and judge the winner."
EXAMPLES = """\
  python -m jamba_ray.sweep +sweep=attention_heads
  python -m jamba_ray.sweep +sweep=rivals data=table data.path=flows.parquet data.target=is_threat
  python -m jamba_ray.sweep +sweep=learning_rate n_trials=64 time_budget_s=1800 run=night-1
  python -m jamba_ray.sweep +sweep=learning_rate n_trials=64 run=night-1 resume=true
  python -m jamba_ray.sweep 'search_space.model.n_heads={type: categorical, choices: [2, 4]}'
"""


def run(config: SweepConfig, console: Console) -> ExitCode:
    """Run a sweep from its configuration to its summary.

    Raises:
        JambaError: With the sentence and exit code for whatever the user can act on.
    """
    space = parse_space(config)
    if not space.parameters:
        raise ConfigError(
            ["`search_space` must have a parameter, but is empty. Add `+sweep=attention_heads`."]
        )
    config = config.model_copy(update={"run": config.run or default_run_name(config.sweep_name)})
    folder = storing.folder_of(config)
    if config.dry_run:
        print_plan(console, config, space, prepare(config.data), folder)
        return ExitCode.OK
    following.check_tracking(config.tracking)
    storing.refuse_if_used(folder, config)
    data = prepare(config.data)
    fetched = storing.create(folder, config)
    write_bytes(folder.config, to_yaml(config).encode())
    log = RunLog(folder.log)
    log.write(f"sweep {config.sweep_name}: {len(data.train)} training rows, {space.paths}")
    if fetched is not None:
        log.write(fetched)
        console.print(fetched, highlight=False, markup=False, soft_wrap=True)
    begun = time.monotonic()
    budget_rows = round(config.training.epochs * len(data.train))
    shape = [p.path for p in space.parameters if not p.fusible]
    with (
        storing.stored(folder, log),
        Following(folder, config.tracking, shape) as follower,
    ):
        try:
            with Display(console, config, budget_rows, log) as display:
                result = run_sweep(config, space, data, folder, display)
        except InterruptedRunError as error:
            log.write(error.message)
            write_json(folder.summary, _interrupted(config, data, folder, error.exit_code, begun))
            raise
        report = _summary(config, space, data, folder, result, begun)
        write_json(folder.summary, report)
        log.write(f"ended: {result.ended}; status {report['status']}")
        notes = following.report(folder, log)
    if (unsent := follower.verdict()) is not None:
        notes.append(unsent)
    print_summary(console, {**report, "notes": [*report["notes"], *notes]})
    return summary.exit_code(result)


def _summary(
    config: SweepConfig,
    space: SearchSpace,
    data: PreparedData,
    folder: RunFolder,
    result: SweepResult,
    begun: float,
) -> dict[str, Any]:
    report: dict[str, Any] = {
        **summary.frame("sweep", config, data),
        "status": result.status,
        "exit_code": int(summary.exit_code(result)),
        "ended": result.ended,
        "trials": summary.count_states(result.counts),
        "failures": summary.failures(result.trials),
        "bayes": verdict.bayes(data),
        "importance": importance(result.trials, space, config.objective),
        "notes": [*data.notes, *result.notes],
        "goodput": result.goodput,
        "folder": str(folder.path),
        "report": str(folder.report),
        "next": _next_commands(folder, result),
    }
    if result.best is not None:
        report |= verdict.of_winner(config, data, folder, result.best)
    report["wall_s"] = time.monotonic() - begun
    plain: dict[str, Any] = summary.finite(report)
    return plain


def _interrupted(
    config: SweepConfig, data: PreparedData, folder: RunFolder, code: ExitCode, begun: float
) -> dict[str, Any]:
    return {
        **summary.frame("sweep", config, data),
        "status": "interrupted",
        "exit_code": int(code),
        "wall_s": time.monotonic() - begun,
        "folder": str(folder.path),
    }


def _next_commands(folder: RunFolder, result: SweepResult) -> list[str]:
    if result.best is None:
        return [f"less {folder.logs}/*"]
    return [
        f"python -m jamba_ray.evaluate checkpoint={folder.path} data.path=<labelled rows>",
        f"python -c \"import jamba_ray; print(jamba_ray.load('{folder.path}'))\"",
        f"optuna-dashboard --host 127.0.0.1 sqlite:///{folder.study}",
    ]


COMMAND = Command(
    name="sweep", about=ABOUT, examples=EXAMPLES, section=SweepConfig, primary="config", run=run
)

if __name__ == "__main__":
    sys.exit(COMMAND.main())
