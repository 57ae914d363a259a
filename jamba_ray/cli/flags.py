"""Parses the flags of a command line, and answers the flags of Hydra that users may type."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from jamba_ray.config.names import nearest
from jamba_ray.errors import ConfigError

_WITH_VALUE = {
    "--cfg": "cfg",
    "--package": "package",
    "-p": "package",
    "--config-dir": "config_dir",
    "-cd": "config_dir",
}
_HELP = ("--help", "-h")
_MULTIRUN = ("--multirun", "-m")
_ANSWERS = {
    "--run": "is what a command does anyway. Drop it.",
    "-r": "is what a command does anyway. Drop it.",
    "--config-name": "is refused: a command has one file to start from. Add settings with "
    "`+sweep=<name>`, or options with `--config-dir=DIR`.",
    "-cn": "is refused: a command has one file to start from. Add settings with "
    "`+sweep=<name>`, or options with `--config-dir=DIR`.",
    "--config-path": "is refused: files of your own go into `./conf`, `./sweeps` or "
    "`--config-dir=DIR`.",
    "-cp": "is refused: files of your own go into `./conf`, `./sweeps` or `--config-dir=DIR`.",
    "--info": "is not a flag here. `--cfg job` prints the configuration.",
    "-i": "is not a flag here. `--cfg job` prints the configuration.",
    "--hydra-help": "is not a flag here: Hydra's own settings are fixed. See `--help`.",
    "--shell-completion": "is not a flag here. Say `jamba-ray completion bash` (or zsh, fish).",
    "-sc": "is not a flag here. Say `jamba-ray completion bash` (or zsh, fish).",
    "--experimental-rerun": "is not a flag here. `resume=true run=<run>` continues a run.",
    "--version": "belongs before the command. Say `jamba-ray --version`.",
}


@dataclass(frozen=True)
class Flags:
    """Holds the flags of a command line."""

    help: str | None = None
    """The requested topic of the help; empty: the two screens."""
    cfg: bool = False
    """Whether to print the configuration and stop."""
    package: str | None = None
    """The part of the configuration to print; None: all."""
    config_dir: Path | None = None
    """A folder with options of the user, in addition to ``./conf``."""


def split_flags(
    argv: Sequence[str], *, others: Collection[str] = (), command: str = "sweep"
) -> tuple[Flags, list[str]]:
    """Splits a command line into flags and other words; those of ``others`` count as words.

    Raises:
        ConfigError: A flag is unknown, lacks its value or is refused.
    """
    words: list[str] = []
    values: dict[str, str] = {}
    topic: str | None = None
    flags: list[str] = []
    mistakes: list[str] = []
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        flag, equals, value = word.partition("=")
        if not word.startswith("-") or word == "-" or word in others:
            words.append(word)
        elif flag in _HELP:
            topic = value if equals else rest.pop(0) if rest and _is_name(rest[0]) else ""
        elif flag in _WITH_VALUE:
            value = value if equals else rest.pop(0) if rest else ""
            values[_WITH_VALUE[flag]] = value
            if not value:
                mistakes.append(f"`{flag}` must be followed by a value, but is not.")
        else:
            flags.append(word)
    mistakes += _cfg_mistakes(values, "--resolve" in flags)
    for flag in flags:
        if flag in _MULTIRUN:
            from jamba_ray.cli.multirun import answer

            mistakes.append(answer(flag, words, command))
        elif (name := flag.partition("=")[0]) in _ANSWERS:
            mistakes.append(f"`{name}` {_ANSWERS[name]}")
        elif flag != "--resolve":
            known = [*_WITH_VALUE, *_HELP, "--resolve", *others]
            close = nearest(flag, [name for name in known if name.startswith("--")])
            hint = close or ". Settings are written `name=value`; see `--help`."
            mistakes.append(f"`{flag}` is not a flag{hint}")
    if mistakes:
        raise ConfigError(list(dict.fromkeys(mistakes)))
    place = Path(values["config_dir"]).expanduser() if "config_dir" in values else None
    return Flags(topic, "cfg" in values, values.get("package"), place), words


def _cfg_mistakes(values: dict[str, str], resolve: bool) -> list[str]:
    mistakes = []
    if values.get("cfg") not in (None, "", "job"):
        mistakes.append(
            f"`--cfg` must be followed by 'job', but is by {values['cfg']!r}. Say `--cfg job`."
        )
    if "cfg" not in values and (resolve or "package" in values):
        flag = "--resolve" if resolve else "--package"
        mistakes.append(f"`{flag}` goes with `--cfg job`, which is missing. Add it.")
    place = values.get("config_dir")
    if place and not Path(place).expanduser().is_dir():
        mistakes.append(
            f"`--config-dir` must be a folder, but {place!r} is none. Give the folder that holds "
            "`model/`, `data/`, `tracking/` or `sweep/`."
        )
    return mistakes


def _is_name(word: str) -> bool:
    """Says whether the word after ``--help`` is a topic of the help and not a setting."""
    return not word.startswith(("-", "+", "~")) and "=" not in word
