"""Runs every command by its name: ``jamba-ray <command>`` or ``python -m jamba_ray <command>``.

What a command needs is imported when the command is asked for, so that this list costs nothing.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from typing import Any

from jamba_ray import __version__
from jamba_ray.config.names import nearest
from jamba_ray.errors import ExitCode

COMMANDS = {
    "sweep": "search the hyperparameters of the threat model, and judge the winner",
    "train": "train one configuration, and judge it",
    "threshold": "choose where to cut scores into alerts, and see what it costs",
    "predict": "score unlabelled rows",
    "explain": "say which columns decide, or why a row is an alert",
    "evaluate": "judge a checkpoint on labelled rows",
    "watch": "say what has changed in new rows, and what that means for the model",
    "export": "write a model as a file for other runtimes, proven equal",
    "import": "read a network from a .pt file, as a run",
    "registry": "keep models as versions, and decide which one is used",
    "serve": "serve a model over HTTP",
    "score": "score rows by a server",
    "check": "check a server: version, answers, latency",
    "report": "write the report of a run, or compare runs",
    "sync": "send a run to W&B, or what of it is not there yet",
    "dashboard": "make a W&B workspace and report about a sweep's best trials",
    "submit": "run a sweep as a job of a Ray cluster",
    "doctor": "say whether a sweep would run here, or on a cluster",
    "chaos": "do faults to small sweeps and check that nothing is lost",
    "completion": "complete commands, settings and values in bash, zsh or fish",
}
_EXAMPLES = """\
  jamba-ray sweep +sweep=rivals data=table data.path=flows.csv data.target=label run=x
  jamba-ray threshold runs/x max_fpr=0.01
  jamba-ray predict runs/x new.csv -o scored.csv
  jamba-ray explain runs/x new.csv"""
_ELSEWHERE = {"chaos": "jamba_ray.chaos.__main__", "completion": "jamba_ray.cli.completion"}
"""Commands without settings: their modules have a ``main`` of their own."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command that the first word names and returns its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["help"]:  # `help sweep data` is `sweep --help data`
        words = [*words[1:2], "--help", *words[2:]]
    name = words[0] if words else "--help"
    if name in {"--version", "-V"}:
        print(f"jamba_ray {__version__}")
        return ExitCode.OK
    if name in {"-h", "--help"}:
        print(_usage())
        return ExitCode.OK
    if name not in COMMANDS:
        hint = nearest(name, COMMANDS) or f". Choose one of {', '.join(COMMANDS)}."
        print(f"error: `{name}` is no command of jamba-ray{hint}", file=sys.stderr)
        return ExitCode.CONFIG
    return _command(name)(words[1:])


def _command(name: str) -> Callable[[Sequence[str]], int]:
    module: Any = importlib.import_module(_ELSEWHERE.get(name, "jamba_ray.cli.commands"))
    run: Callable[[Sequence[str]], int] = (
        module.main if name in _ELSEWHERE else module.COMMANDS[name].main
    )
    return run


def _usage() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {about}" for name, about in COMMANDS.items()]
    return "\n".join(
        [
            "jamba-ray <command> [settings]: finds, judges and uses threat-detection models.",
            "",
            *lines,
            "",
            "`jamba-ray <command> --help` says what a command takes; `--version` names this one.",
            "",
            _EXAMPLES,
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
